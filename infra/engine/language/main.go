// Command pulumi-language-python is a thin Pulumi language host: it runs Python programs, plugins and policy packs in the
// virtual environment that the project's `virtualenv` runtime option names.
//
// It exists because the published host can't be built from public Go modules; docs/decisions/0001-language-host.md has
// the reasons. What a deployment needs is here; code generation and conversion answer "unimplemented".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// engineCheckInterval is how often the host asks whether the engine still lives, so that it never outlives it.
const engineCheckInterval = 5 * time.Minute

// host implements the LanguageRuntime service.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	engine  string // address of the engine
	tracing string // endpoint of a tracing collector, or ""
}

func main() {
	if err := serve(); err != nil {
		cmdutil.Exit(err)
	}
}

func serve() error {
	tracing := flag.String("tracing", "", "emit tracing to a Zipkin-compatible endpoint")
	flag.String("root", "", "accepted and not used: every request names its own directories")
	flag.Bool("logflow", false, "accepted and not used")
	flag.Parse()
	logging.InitLogging(false, 0, false)
	cmdutil.InitTracing("pulumi-language-python", "pulumi-language-python", *tracing)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &host{tracing: *tracing}
	if flag.NArg() > 0 {
		server.engine = flag.Arg(0)
		if err := rpcutil.Healthcheck(ctx, server.engine, engineCheckInterval, stop); err != nil {
			return fmt.Errorf("the engine at %s can't be watched: %w", server.engine, err)
		}
	}
	cancel := make(chan bool)
	go func() {
		<-ctx.Done()
		close(cancel)
	}()
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel:  cancel,
		Options: rpcutil.TracingServerInterceptorOptions(nil),
		Init: func(registrar *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(registrar, server)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("can't listen: %w", err)
	}
	// The engine reads the port from the first line.
	fmt.Printf("%d\n", handle.Port)
	return <-handle.Done
}

// Handshake takes the engine's address when it was not given on the command line.
func (h *host) Handshake(
	_ context.Context, request *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = request.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo answers with the SDK version that the host was built from.
func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

// RuntimeOptionsPrompts has nothing to ask: the host knows pip environments only.
func (h *host) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// Template leaves a new project's files as they are.
func (h *host) Template(context.Context, *pulumirpc.TemplateRequest) (*pulumirpc.TemplateResponse, error) {
	return &pulumirpc.TemplateResponse{}, nil
}

// Cancel has nothing to abort by itself: the engine closes its requests, and their contexts end the processes.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}
