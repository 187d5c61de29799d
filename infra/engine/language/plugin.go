package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// RunPlugin executes a plugin or policy pack that is written in Python and streams what it prints.
func (h *host) RunPlugin(request *pulumirpc.RunPluginRequest, stream pulumirpc.LanguageRuntime_RunPluginServer) error {
	command, err := h.pluginCommand(stream.Context(), request)
	if err != nil {
		return err
	}
	output := &pluginOutput{send: stream.Send}
	command.Stdout = outputWriter(func(text []byte) error {
		return output.write(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stdout{Stdout: text}})
	})
	command.Stderr = outputWriter(func(text []byte) error {
		return output.write(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stderr{Stderr: text}})
	})
	err = command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("plugin in %s: %w", request.GetInfo().GetProgramDirectory(), err)
	}
	code := int32(command.ProcessState.ExitCode()) //nolint:gosec // an exit code is at most 255
	return output.write(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: code}})
}

// pluginCommand prepares the process of a plugin. A policy pack goes through the SDK's own entry, which takes the
// engine's address and the pack's folder; any other plugin is run as a program with the engine's arguments.
func (h *host) pluginCommand(ctx context.Context, request *pulumirpc.RunPluginRequest) (*exec.Cmd, error) {
	env, err := environmentOf(request.GetInfo())
	if err != nil {
		return nil, err
	}
	program := programPath(request.GetInfo())
	arguments := append([]string{"-u", program}, request.GetArgs()...)
	if request.GetKind() == "analyzer" {
		if len(request.GetArgs()) == 0 {
			return nil, fmt.Errorf("policy pack %s: the engine gave no address", program)
		}
		arguments = append([]string{"-u", "-m", "pulumi.policy", request.GetArgs()[0], program}, request.GetArgs()[1:]...)
	}
	// The engine sends its own environment with what the plugin needs.
	environ := request.GetEnv()
	if len(environ) == 0 {
		environ = os.Environ()
	}
	command, err := env.command(ctx, environ, arguments...)
	if err != nil {
		return nil, err
	}
	command.Dir = request.GetPwd()
	return command, nil
}

// pluginOutput serialises what goes to one stream: gRPC forbids two sends at once.
type pluginOutput struct {
	mutex sync.Mutex
	send  func(*pulumirpc.RunPluginResponse) error
}

func (o *pluginOutput) write(response *pulumirpc.RunPluginResponse) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.send(response)
}

// outputWriter makes an io.Writer of a function. The bytes are copied, since the sender may keep them.
type outputWriter func([]byte) error

func (w outputWriter) Write(text []byte) (int, error) {
	if err := w(append([]byte(nil), text...)); err != nil {
		return 0, err
	}
	return len(text), nil
}
