//go:build tools

// Package pulumi keeps the requirement of the Pulumi command line, which scripts/setup builds from this module.
package pulumi

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
