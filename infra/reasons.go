package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// What the template says beside a resource, for people who read the template and for the
// tools that check it.

// wildcardMetadata is the metadata of a resource that names others by a wildcard: why it
// must. A test refuses a wildcard without it.
const wildcardMetadata = "keyreeve:wildcard"

// wildcard gives the reason for a wildcard in a resource.
func wildcard(c constructs.IConstruct, reason string) {
	resource(c).AddMetadata(jsii.String(wildcardMetadata), reason)
}

// waiver is a check of checkov that a resource fails on purpose.
type waiver struct{ check, reason string }

// waive tells checkov to leave out checks, each with its reason
// (https://www.checkov.io/2.Basics/Suppressing%20and%20Skipping%20Policies.html).
func waive(c constructs.IConstruct, waivers ...waiver) {
	var skip []map[string]string
	for _, w := range waivers {
		skip = append(skip, map[string]string{"id": w.check, "comment": w.reason})
	}
	resource(c).AddMetadata(jsii.String("checkov"), map[string]any{"skip": skip})
}

// resource is the CloudFormation resource of a construct.
func resource(c constructs.IConstruct) awscdk.CfnResource {
	if r, ok := c.(awscdk.CfnResource); ok {
		return r
	}
	return c.Node().DefaultChild().(awscdk.CfnResource)
}
