package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// program describes a program in a folder with the given runtime options.
func program(t *testing.T, folder string, options map[string]any) *pulumirpc.ProgramInfo {
	t.Helper()
	values, err := structpb.NewStruct(options)
	if err != nil {
		t.Fatal(err)
	}
	return &pulumirpc.ProgramInfo{
		RootDirectory: folder, ProgramDirectory: folder, EntryPoint: ".", Options: values,
	}
}

// virtualenv makes a folder with a virtual environment named venv.
func virtualenv(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	output, err := exec.Command("python3", "-m", "venv", "--without-pip", filepath.Join(folder, "venv")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return folder
}

func TestVirtualenvIsRelativeToTheProject(t *testing.T) {
	env, err := environmentOf(program(t, "/project", map[string]any{"virtualenv": "venv", "toolchain": "pip"}))
	if err != nil || env.path != "/project/venv" {
		t.Errorf("got %v, %v", env, err)
	}
}

func TestUnknownRuntimeOptionsAreRefused(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"toolchain":   {"toolchain": "poetry"},
		"typechecker": {"typechecker": "mypy"},
		"virtualenv":  {"virtualenv": true},
	} {
		if _, err := environmentOf(program(t, "/project", options)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: the error should name %s: %v", options, name, err)
		}
	}
}

func TestMissingVirtualenvIsNamed(t *testing.T) {
	folder := t.TempDir()
	env, err := environmentOf(program(t, folder, map[string]any{"virtualenv": "venv"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.command(t.Context(), nil); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("the error should name the folder: %v", err)
	}
}

func TestExecutorArguments(t *testing.T) {
	info := program(t, "/project/infra", nil)
	info.RootDirectory = "/project"
	server := host{engine: "127.0.0.1:1"}
	got := server.executorArguments(&pulumirpc.RunRequest{
		Project: "ragrec", Stack: "dev", Organization: "organization", Pwd: "/project/infra", DryRun: true, Parallel: 4,
		MonitorAddress: "127.0.0.1:2", Args: []string{"one"}, Info: info,
	})
	want := []string{
		"--monitor", "127.0.0.1:2", "--engine", "127.0.0.1:1", "--project", "ragrec", "--root_directory", "/project",
		"--stack", "dev", "--pwd", "/project/infra", "--dry_run", "true", "--parallel", "4",
		"--organization", "organization", "/project/infra", "one",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestRunResponseTellsHowTheProgramEnded(t *testing.T) {
	for script, want := range map[string]*pulumirpc.RunResponse{
		"exit 0":        {},
		"exit 32":       {Bail: true},
		"exit 3":        {Error: "Program exited with non-zero exit code: 3"},
		"kill -KILL $$": {Error: "Program was ended by signal: killed"},
	} {
		got := runResponse(exec.Command("sh", "-c", script).Run())
		if got.GetBail() != want.GetBail() || got.GetError() != want.GetError() {
			t.Errorf("%s: got %v, want %v", script, got, want)
		}
	}
}

func TestPolicyPackStartsThroughTheSDK(t *testing.T) {
	folder := virtualenv(t)
	request := &pulumirpc.RunPluginRequest{
		Kind: "analyzer", Args: []string{"127.0.0.1:1", "-v=3"}, Env: []string{"PATH=/bin", "GIVEN=yes"}, Pwd: folder,
		Info: program(t, folder, map[string]any{"virtualenv": "venv"}),
	}
	command, err := (&host{}).pluginCommand(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"-u", "-m", "pulumi.policy", "127.0.0.1:1", folder, "-v=3"}
	if !reflect.DeepEqual(command.Args[1:], want) {
		t.Errorf("got %v, want %v", command.Args[1:], want)
	}
	path := "PATH=" + filepath.Join(folder, "venv", "bin") + ":/bin"
	if !slices.Contains(command.Env, path) || !slices.Contains(command.Env, "GIVEN=yes") {
		t.Errorf("got the environment %v", command.Env)
	}
}

// pluginStream collects what a plugin's stream gets, and fails when two sends overlap.
type pluginStream struct {
	grpc.ServerStream
	t         *testing.T
	context   context.Context
	sending   sync.Mutex
	responses []*pulumirpc.RunPluginResponse
}

func (s *pluginStream) Context() context.Context { return s.context }

func (s *pluginStream) Send(response *pulumirpc.RunPluginResponse) error {
	if !s.sending.TryLock() {
		s.t.Error("two sends at once")
		return nil
	}
	defer s.sending.Unlock()
	time.Sleep(time.Millisecond)
	s.responses = append(s.responses, response)
	return nil
}

func TestPluginOutputAndExitCode(t *testing.T) {
	folder := virtualenv(t)
	script := "import sys\nfor i in range(50):\n  print('out', flush=True)\n  print('err', file=sys.stderr, flush=True)\nsys.exit(7)\n"
	if err := os.WriteFile(filepath.Join(folder, "__main__.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	stream := &pluginStream{t: t, context: t.Context()}
	request := &pulumirpc.RunPluginRequest{Pwd: folder, Info: program(t, folder, map[string]any{"virtualenv": "venv"})}
	if err := (&host{}).RunPlugin(request, stream); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr string
	for _, response := range stream.responses {
		stdout += string(response.GetStdout())
		stderr += string(response.GetStderr())
	}
	if stdout != strings.Repeat("out\n", 50) || stderr != strings.Repeat("err\n", 50) {
		t.Errorf("lost output: %d and %d bytes", len(stdout), len(stderr))
	}
	if code := stream.responses[len(stream.responses)-1].GetExitcode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

func TestPluginEndsWithItsRequest(t *testing.T) {
	folder := virtualenv(t)
	script := "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
	if err := os.WriteFile(filepath.Join(folder, "__main__.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	started := time.Now()
	request := &pulumirpc.RunPluginRequest{Pwd: folder, Info: program(t, folder, map[string]any{"virtualenv": "venv"})}
	if err := (&host{}).RunPlugin(request, &pluginStream{t: t, context: ctx}); err == nil && time.Since(started) > stopGrace {
		t.Error("the plugin outlived its request")
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPackagesOfTheEnvironment(t *testing.T) {
	folder := virtualenv(t)
	found, err := filepath.Glob(filepath.Join(folder, "venv", "lib", "python3*", "site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	write := func(name, text string) {
		file := filepath.Join(found[0], name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pulumi_cloud/pulumi-plugin.json", `{"resource": true, "name": "cloud", "version": "1.2.3"}`)
	write("pulumi_other/pulumi-plugin.json", `{"resource": true}`)
	write("pulumi_other-2.0.dist-info/METADATA", "Name: pulumi_other\nVersion: 2.0\nRequires-Dist: base\n")
	write("base-1.0.dist-info/METADATA", "Name: base\nVersion: 1.0\n")
	info := program(t, folder, map[string]any{"virtualenv": "venv"})

	packages, err := (&host{}).GetRequiredPackages(t.Context(), &pulumirpc.GetRequiredPackagesRequest{Info: info})
	if err != nil {
		t.Fatal(err)
	}
	var plugins []string
	for _, one := range packages.GetPackages() {
		plugins = append(plugins, one.GetKind()+" "+one.GetName()+" "+one.GetVersion())
	}
	if want := []string{"resource cloud 1.2.3", "resource other 2.0"}; !reflect.DeepEqual(plugins, want) {
		t.Errorf("got %v, want %v", plugins, want)
	}
	for transitive, want := range map[bool]int{true: 2, false: 1} {
		request := &pulumirpc.GetProgramDependenciesRequest{Info: info, TransitiveDependencies: transitive}
		answer, err := (&host{}).GetProgramDependencies(t.Context(), request)
		if err != nil || len(answer.GetDependencies()) != want {
			t.Errorf("transitive %v: got %v, %v", transitive, answer, err)
		}
	}
	about, err := (&host{}).About(t.Context(), &pulumirpc.AboutRequest{Info: info})
	if err != nil || about.GetExecutable() != filepath.Join(folder, "venv", "bin", "python") {
		t.Errorf("got %v, %v", about, err)
	}
}
