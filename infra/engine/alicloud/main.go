// Command pulumi-resource-alicloud is the Pulumi plugin of the alicloud Terraform provider.
//
// It is what the published plugin is made of, the provider behind pulumi-terraform-bridge, with only the resources of
// mapping.go: the tokens and property names are those of the pulumi-alicloud SDK, so a stack can change between the two.
package main

import (
	"encoding/json"
	"log"

	"github.com/aliyun/terraform-provider-alicloud/alicloud"
	"github.com/hashicorp/terraform-plugin-sdk/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv1 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v1"
)

// version is that of the pulumi-alicloud SDK which this plugin serves; the linker sets it.
var version = "0.0.0"

func main() {
	// The provider reads it as its caller's version; without one it warns on every start.
	terraform := alicloud.Provider().(*schema.Provider)
	terraform.TerraformVersion = "1.0.0"
	provider := providerInfo(shimv1.NewProvider(terraform))
	text, err := json.Marshal(packageSpec(provider))
	if err != nil {
		log.Fatalf("alicloud: the schema can't be written as JSON: %v", err)
	}
	tfbridge.Main("alicloud", version, provider, text)
}
