package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

const (
	// executor starts a program; it is part of the Pulumi SDK and lies beside the host.
	executor = "pulumi-language-python-exec"
	// reportedExit is how the executor says that it has shown the error to the user itself.
	reportedExit = 32
)

// Run executes a Pulumi program to its end.
func (h *host) Run(ctx context.Context, request *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	env, err := environmentOf(request.GetInfo())
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the language host can't find itself: %w", err)
	}
	arguments := append([]string{"-u", filepath.Join(filepath.Dir(self), executor)}, h.executorArguments(request)...)
	settings, err := configuration(request)
	if err != nil {
		return nil, err
	}
	command, err := env.command(ctx, append(os.Environ(), settings...), arguments...)
	if err != nil {
		return nil, err
	}
	// The engine shows what comes on the host's own streams.
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return runResponse(command.Run()), nil
}

// executorArguments is the command line of the executor, after its own path.
func (h *host) executorArguments(request *pulumirpc.RunRequest) []string {
	var arguments []string
	option := func(name, value string) {
		if value != "" {
			arguments = append(arguments, "--"+name, value)
		}
	}
	option("monitor", request.GetMonitorAddress())
	option("engine", h.engine)
	option("project", request.GetProject())
	option("root_directory", request.GetInfo().GetRootDirectory())
	option("stack", request.GetStack())
	option("pwd", request.GetPwd())
	option("dry_run", strconv.FormatBool(request.GetDryRun()))
	option("parallel", strconv.Itoa(int(request.GetParallel())))
	option("tracing", h.tracing)
	option("organization", request.GetOrganization())
	arguments = append(arguments, programPath(request.GetInfo()))
	return append(arguments, request.GetArgs()...)
}

// programPath is the file or folder that Python runs.
func programPath(info *pulumirpc.ProgramInfo) string {
	entry := info.GetEntryPoint()
	if filepath.IsAbs(entry) {
		return entry
	}
	return filepath.Join(info.GetProgramDirectory(), entry)
}

// configuration is the stack's configuration as the SDK reads it from the environment.
func configuration(request *pulumirpc.RunRequest) ([]string, error) {
	values, err := json.Marshal(request.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("the stack's configuration can't be written as JSON: %w", err)
	}
	secret, err := json.Marshal(request.GetConfigSecretKeys())
	if err != nil {
		return nil, fmt.Errorf("the names of secret configuration values can't be written as JSON: %w", err)
	}
	return []string{"PULUMI_CONFIG=" + string(values), "PULUMI_CONFIG_SECRET_KEYS=" + string(secret)}, nil
}

// runResponse says how a program ended.
func runResponse(err error) *pulumirpc.RunResponse {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}
	case errors.As(err, &exit) && exit.ExitCode() == reportedExit:
		return &pulumirpc.RunResponse{Bail: true}
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program exited with non-zero exit code: %d", exit.ExitCode())}
	case errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program was ended by %v", exit)}
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program could not be started: %v", err)}
	}
}
