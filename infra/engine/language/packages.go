package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

// inspect lists installed packages without starting pip, which takes half a second on every command.
//
//go:embed inspect.py
var inspect string

// requiredPlugin is a pulumi-plugin.json.
type requiredPlugin struct {
	Name             string `json:"name"`
	Version          string `json:"version"`
	Server           string `json:"server"`
	Parameterization *struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Value   []byte `json:"value"`
	} `json:"parameterization"`
}

// GetRequiredPackages answers with the plugins that the installed packages ask for.
func (h *host) GetRequiredPackages(
	ctx context.Context, request *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	var plugins []requiredPlugin
	if err := query(ctx, request.GetInfo(), &plugins, "-c", inspect, "plugins"); err != nil {
		return nil, err
	}
	response := &pulumirpc.GetRequiredPackagesResponse{}
	for _, plugin := range plugins {
		dependency := &pulumirpc.PackageDependency{
			Name: plugin.Name, Kind: "resource", Version: plugin.Version, Server: plugin.Server,
		}
		if p := plugin.Parameterization; p != nil {
			dependency.Parameterization = &pulumirpc.PackageParameterization{Name: p.Name, Version: p.Version, Value: p.Value}
		}
		response.Packages = append(response.Packages, dependency)
	}
	return response, nil
}

// GetProgramDependencies lists installed distributions; without the transitive ones, those that no other one requires.
func (h *host) GetProgramDependencies(
	ctx context.Context, request *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	var distributions []struct {
		Name     string `json:"name"`
		Version  string `json:"version"`
		Required bool   `json:"required"`
	}
	if err := query(ctx, request.GetInfo(), &distributions, "-c", inspect, "dependencies"); err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, one := range distributions {
		if request.GetTransitiveDependencies() || !one.Required {
			dependency := &pulumirpc.DependencyInfo{Name: one.Name, Version: one.Version}
			response.Dependencies = append(response.Dependencies, dependency)
		}
	}
	return response, nil
}

// About names the Python that programs run in.
func (h *host) About(ctx context.Context, request *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	const script = `import json, platform, sys; json.dump([sys.executable, platform.python_version()], sys.stdout)`
	var python [2]string
	if err := query(ctx, request.GetInfo(), &python, "-I", "-S", "-c", script); err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{Executable: python[0], Version: python[1]}, nil
}

// query runs Python in a program's environment and folder and decodes the JSON that it prints.
func query(ctx context.Context, info *pulumirpc.ProgramInfo, answer any, arguments ...string) error {
	env, err := environmentOf(info)
	if err != nil {
		return err
	}
	command, err := env.command(ctx, os.Environ(), arguments...)
	if err != nil {
		return err
	}
	command.Dir = info.GetProgramDirectory()
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return fmt.Errorf("asking %s: %w: %s", command.Path, err, strings.TrimSpace(stderr.String()))
	}
	if err := json.Unmarshal(output, answer); err != nil {
		return fmt.Errorf("asking %s: the answer is not JSON: %w", command.Path, err)
	}
	return nil
}

// InstallDependencies fills the environment from the program's requirements.txt. The SDK's own function makes the
// environment too, and so breaks one that exists; it is used only where there is none yet.
func (h *host) InstallDependencies(
	request *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	env, err := environmentOf(request.GetInfo())
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	writer := func(response func([]byte) *pulumirpc.InstallDependenciesResponse) io.Writer {
		return outputWriter(func(text []byte) error {
			mutex.Lock()
			defer mutex.Unlock()
			return stream.Send(response(text))
		})
	}
	stdout := writer(func(text []byte) *pulumirpc.InstallDependenciesResponse {
		return &pulumirpc.InstallDependenciesResponse{Stdout: text}
	})
	stderr := writer(func(text []byte) *pulumirpc.InstallDependenciesResponse {
		return &pulumirpc.InstallDependenciesResponse{Stderr: text}
	})
	folder := request.GetInfo().GetProgramDirectory()
	if env.path != "" && !toolchain.IsVirtualEnv(env.path) {
		return toolchain.InstallDependencies(stream.Context(), folder, env.path, false, true, stdout, stderr)
	}
	requirements := filepath.Join(folder, "requirements.txt")
	if _, err := os.Stat(requirements); os.IsNotExist(err) {
		_, err := fmt.Fprintf(stdout, "Nothing to install: there is no %s\n", requirements)
		return err
	}
	command, err := env.command(stream.Context(), os.Environ(), "-m", "pip", "install", "-r", requirements)
	if err != nil {
		return err
	}
	command.Dir, command.Stdout, command.Stderr = folder, stdout, stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("installing %s: %w", requirements, err)
	}
	return nil
}
