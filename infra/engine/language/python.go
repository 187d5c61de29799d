package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

// stopGrace is the time between SIGTERM and SIGKILL for a process whose request has ended.
const stopGrace = 10 * time.Second

// environment is the Python that a program or plugin runs in.
type environment struct {
	option string // the `virtualenv` option as it was written; "" for the Python on PATH
	path   string // its absolute path
}

// environmentOf reads the runtime options of a project or plugin. A relative virtualenv is relative to the folder of
// its project file. Options that the published host knows and this one does not are refused, not overlooked.
func environmentOf(info *pulumirpc.ProgramInfo) (environment, error) {
	env := environment{}
	for name, value := range info.GetOptions().AsMap() {
		text, ok := value.(string)
		switch {
		case !ok:
			return env, fmt.Errorf("runtime option %q must be a string, not %v", name, value)
		case name == "virtualenv":
			env.option = text
		case name == "toolchain" && text == "pip":
		default:
			return env, fmt.Errorf("runtime option %q with the value %q is not supported: "+
				"this language host knows virtualenv, and toolchain with the value pip", name, text)
		}
	}
	switch {
	case env.option == "":
	case filepath.IsAbs(env.option):
		env.path = env.option
	default:
		env.path = filepath.Join(info.GetRootDirectory(), env.option)
	}
	return env, nil
}

// command prepares a Python process that ends together with ctx: with SIGTERM first, so that it can clean up.
func (env environment) command(ctx context.Context, environ []string, arguments ...string) (*exec.Cmd, error) {
	python := filepath.Join(env.path, "bin", "python")
	if env.path == "" {
		found, _, err := toolchain.CommandPath()
		if err != nil {
			return nil, err
		}
		python = found
	} else {
		if !toolchain.IsVirtualEnv(env.path) {
			return nil, toolchain.NewVirtualEnvError(env.option, env.path)
		}
		environ = toolchain.ActivateVirtualEnv(environ, env.path)
	}
	command := exec.CommandContext(ctx, python, arguments...)
	command.Env = environ
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopGrace
	return command, nil
}
