package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// resources leads from a Terraform resource to the token of the pulumi-alicloud SDK, without the package's name.
var resources = map[string]tokens.Type{
	"alicloud_vpc":     "vpc/network:Network",
	"alicloud_vswitch": "vpc/switch:Switch",

	"alicloud_security_group":          "ecs/securityGroup:SecurityGroup",
	"alicloud_security_group_rule":     "ecs/securityGroupRule:SecurityGroupRule",
	"alicloud_instance":                "ecs/instance:Instance",
	"alicloud_ecs_key_pair":            "ecs/ecsKeyPair:EcsKeyPair",
	"alicloud_ecs_disk":                "ecs/ecsDisk:EcsDisk",
	"alicloud_ecs_disk_attachment":     "ecs/ecsDiskAttachment:EcsDiskAttachment",
	"alicloud_ecs_deployment_set":      "ecs/ecsDeploymentSet:EcsDeploymentSet",
	"alicloud_ecs_ram_role_attachment": "ecs/ramRoleAttachment:RamRoleAttachment",
	"alicloud_eip_address":             "ecs/eipAddress:EipAddress",
	"alicloud_eip_association":         "ecs/eipAssociation:EipAssociation",
	"alicloud_nat_gateway":             "vpc/natGateway:NatGateway",
	"alicloud_snat_entry":              "vpc/snatEntry:SnatEntry",

	"alicloud_ram_role":                   "ram/role:Role",
	"alicloud_ram_policy":                 "ram/policy:Policy",
	"alicloud_ram_role_policy_attachment": "ram/rolePolicyAttachment:RolePolicyAttachment",
	"alicloud_ram_user":                   "ram/user:User",
	"alicloud_ram_user_policy_attachment": "ram/userPolicyAttachment:UserPolicyAttachment",
	"alicloud_ram_access_key":             "ram/accessKey:AccessKey",

	"alicloud_oss_bucket":                        "oss/bucket:Bucket",
	"alicloud_oss_bucket_acl":                    "oss/bucketAcl:BucketAcl",
	"alicloud_oss_bucket_https_config":           "oss/bucketHttpsConfig:BucketHttpsConfig",
	"alicloud_oss_bucket_logging":                "oss/bucketLogging:BucketLogging",
	"alicloud_oss_bucket_object":                 "oss/bucketObject:BucketObject",
	"alicloud_oss_bucket_policy":                 "oss/bucketPolicy:BucketPolicy",
	"alicloud_oss_bucket_public_access_block":    "oss/bucketPublicAccessBlock:BucketPublicAccessBlock",
	"alicloud_oss_bucket_server_side_encryption": "oss/bucketServerSideEncryption:BucketServerSideEncryption",
	"alicloud_oss_bucket_versioning":             "oss/bucketVersioning:BucketVersioning",

	"alicloud_slb_load_balancer":                  "slb/applicationLoadBalancer:ApplicationLoadBalancer",
	"alicloud_slb_server_group_server_attachment": "slb/serverGroupServerAttachment:ServerGroupServerAttachment",
	"alicloud_slb_listener":                       "slb/listener:Listener",
	"alicloud_slb_server_group":                   "slb/serverGroup:ServerGroup",
	"alicloud_slb_server_certificate":             "slb/serverCertificate:ServerCertificate",
	"alicloud_nlb_load_balancer":                  "nlb/loadBalancer:LoadBalancer",
	"alicloud_nlb_listener":                       "nlb/listener:Listener",
	"alicloud_nlb_server_group":                   "nlb/serverGroup:ServerGroup",
	"alicloud_nlb_server_group_server_attachment": "nlb/serverGroupServerAttachment:ServerGroupServerAttachment",
}

// dataSources does the same for functions.
var dataSources = map[string]tokens.ModuleMember{
	"alicloud_account":         "index/getAccount:getAccount",
	"alicloud_caller_identity": "index/getCallerIdentity:getCallerIdentity",
	"alicloud_regions":         "index/getRegions:getRegions",
	"alicloud_zones":           "index/getZones:getZones",
	"alicloud_images":          "ecs/getImages:getImages",
	"alicloud_instance_types":  "ecs/getInstanceTypes:getInstanceTypes",
	"alicloud_instances":       "ecs/getInstances:getInstances",
	"alicloud_security_groups": "ecs/getSecurityGroups:getSecurityGroups",
	"alicloud_vpcs":            "vpc/getNetworks:getNetworks",
	"alicloud_vswitches":       "vpc/getSwitches:getSwitches",
	"alicloud_oss_buckets":     "oss/getBuckets:getBuckets",
}

// providerInfo maps what the tables above list; the bridge would name every other resource by itself, hence the ignores.
func providerInfo(p shim.Provider) tfbridge.ProviderInfo {
	const prefix = "alicloud:"
	fromEnvironment := func(name string) *tfbridge.SchemaInfo {
		return &tfbridge.SchemaInfo{Default: &tfbridge.DefaultInfo{EnvVars: []string{name}}}
	}
	info := tfbridge.ProviderInfo{
		P:           p,
		Name:        "alicloud",
		DisplayName: "Alibaba Cloud",
		Description: "The resources of Alibaba Cloud that ragrec uses.",
		License:     "Apache-2.0",
		GitHubOrg:   "aliyun",
		Version:     version,
		Config: map[string]*tfbridge.SchemaInfo{
			"ecs_role_name": fromEnvironment("ALICLOUD_ECS_ROLE_NAME"),
			"region":        fromEnvironment("ALICLOUD_REGION"),
			"profile":       fromEnvironment("ALICLOUD_PROFILE"),
		},
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
	}
	for name, token := range resources {
		info.Resources[name] = &tfbridge.ResourceInfo{Tok: prefix + token}
	}
	// The SDK was generated when the provider allowed one; it can't read a list there.
	info.Resources["alicloud_instance"].Fields = map[string]*tfbridge.SchemaInfo{
		"network_interfaces": {MaxItemsOne: tfbridge.True()},
	}
	for name, token := range dataSources {
		info.DataSources[name] = &tfbridge.DataSourceInfo{Tok: prefix + token}
	}
	ignore := func(name string, _ shim.Resource) bool {
		_, resource := info.Resources[name]
		_, dataSource := info.DataSources[name]
		if !resource && !dataSource {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
		return true
	}
	p.ResourcesMap().Range(ignore)
	p.DataSourcesMap().Range(ignore)
	info.SetAutonaming(255, "-")
	return info
}
