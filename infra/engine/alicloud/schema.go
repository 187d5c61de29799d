package main

import (
	"strings"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

// specBuilder collects the object types that the properties of a package refer to.
type specBuilder struct {
	types map[string]schema.ComplexTypeSpec
}

// packageSpec describes the mapped resources and functions: the engine reads it for types and the bridge checks inputs
// against it. Texts are left out; the published schema has them.
func packageSpec(info tfbridge.ProviderInfo) schema.PackageSpec {
	builder := specBuilder{types: map[string]schema.ComplexTypeSpec{}}
	spec := schema.PackageSpec{
		Name:        info.Name,
		Version:     info.Version,
		DisplayName: info.DisplayName,
		Description: info.Description,
		License:     info.License,
		// The module of "alicloud:ecs/instance:Instance" is ecs.
		Meta:      &schema.MetadataSpec{ModuleFormat: "(.*)(?:/[^/]*)"},
		Types:     builder.types,
		Resources: map[string]schema.ResourceSpec{},
		Functions: map[string]schema.FunctionSpec{},
	}
	config := builder.object("alicloud:config/config:", info.P.Schema(), info.Config, anyProperty)
	spec.Config = schema.ConfigSpec{Variables: config.Properties}
	spec.Provider = schema.ResourceSpec{InputProperties: config.Properties}
	for name, resource := range info.Resources {
		token := string(resource.Tok)
		properties := info.P.ResourcesMap().Get(name).Schema()
		inputs := builder.object(token, properties, resource.Fields, isInput)
		spec.Resources[token] = schema.ResourceSpec{
			ObjectTypeSpec:  builder.object(token, properties, resource.Fields, anyProperty),
			InputProperties: inputs.Properties,
			RequiredInputs:  inputs.Required,
		}
	}
	for name, function := range info.DataSources {
		token := string(function.Tok)
		properties := info.P.DataSourcesMap().Get(name).Schema()
		inputs := builder.object(token, properties, function.Fields, isInput)
		outputs := builder.object(token, properties, function.Fields, anyProperty)
		spec.Functions[token] = schema.FunctionSpec{Inputs: &inputs, Outputs: &outputs}
	}
	return spec
}

func anyProperty(shim.Schema) bool { return true }

func isInput(s shim.Schema) bool { return s.Optional() || s.Required() }

// object describes the properties that keep is true for, by their Pulumi names.
func (b specBuilder) object(
	token string, properties shim.SchemaMap, fields map[string]*tfbridge.SchemaInfo, keep func(shim.Schema) bool,
) schema.ObjectTypeSpec {
	object := schema.ObjectTypeSpec{Type: "object", Properties: map[string]schema.PropertySpec{}}
	properties.Range(func(name string, property shim.Schema) bool {
		if property.Removed() != "" || !keep(property) {
			return true
		}
		pulumiName := tfbridge.TerraformToPulumiNameV2(name, properties, fields)
		object.Properties[pulumiName] = schema.PropertySpec{
			TypeSpec:           b.typeOf(nested(token, pulumiName), property, fields[name]),
			DeprecationMessage: property.Deprecated(),
			Secret:             property.Sensitive(),
		}
		if property.Required() && (fields[name] == nil || !fields[name].HasDefault()) {
			object.Required = append(object.Required, pulumiName)
		}
		return true
	})
	return object
}

// nested is the token of the object type of a property: "m:ecs/instance:Instance" and "dataDisks" make
// "m:ecs/InstanceDataDisks:InstanceDataDisks".
func nested(token, property string) string {
	module, name, _ := strings.Cut(token, "/")
	_, name, _ = strings.Cut(name, ":")
	name += strings.ToUpper(property[:1]) + property[1:]
	return module + "/" + name + ":" + name
}

// typeOf is the type of a property; token names the object type of a nested block.
func (b specBuilder) typeOf(token string, property shim.Schema, field *tfbridge.SchemaInfo) schema.TypeSpec {
	switch property.Type() {
	case shim.TypeBool:
		return schema.TypeSpec{Type: "boolean"}
	case shim.TypeInt:
		return schema.TypeSpec{Type: "integer"}
	case shim.TypeFloat:
		return schema.TypeSpec{Type: "number"}
	case shim.TypeMap:
		element := b.element(token, property)
		return schema.TypeSpec{Type: "object", AdditionalProperties: &element}
	case shim.TypeList, shim.TypeSet:
		element := b.element(token, property)
		if tfbridge.IsMaxItemsOne(property, field) {
			return element
		}
		return schema.TypeSpec{Type: "array", Items: &element}
	default:
		return schema.TypeSpec{Type: "string"}
	}
}

func (b specBuilder) element(token string, property shim.Schema) schema.TypeSpec {
	switch element := property.Elem().(type) {
	case shim.Schema:
		return b.typeOf(token, element, nil)
	case shim.Resource:
		if property.Type() == shim.TypeMap {
			break
		}
		b.types[token] = schema.ComplexTypeSpec{ObjectTypeSpec: b.object(token, element.Schema(), nil, anyProperty)}
		return schema.TypeSpec{Ref: "#/types/" + token}
	}
	return schema.TypeSpec{Type: "string"}
}
