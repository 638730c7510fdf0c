package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A route table with upstreams brings one function, which may invoke the functions that the
// table names and no other.
func TestUpstreamsAreReachedByOneFunctionThatMayInvokeNoOthers(t *testing.T) {
	tp := forwarding()
	var got []statement
	for _, f := range tp.of("AWS::Lambda::Function") {
		if f.Properties["Handler"] != "forward" {
			continue
		}
		role := tp.Resources[f.Properties["Role"].(object)["Fn::GetAtt"].([]any)[0].(string)]
		for _, p := range role.Properties["Policies"].([]any) {
			got = append(got, statements(t, dig(p, "PolicyDocument"))...)
		}
		// It is to end before API Gateway gives up on it, so that it can say why.
		if f.Properties["Timeout"] != 29.0 || f.Properties["MemorySize"] != 512.0 {
			t.Errorf("forward has %v s and %v MB", f.Properties["Timeout"], f.Properties["MemorySize"])
		}
		env := f.Properties["Environment"].(object)["Variables"].(object)
		if env["ROUTES_FILE"] != "routes.json" || env["SAMPLE_TABLE"] != nil {
			t.Errorf("forward's environment is %v", env)
		}
	}
	invoke := []string{"lambda:InvokeFunction"}
	want := []statement{
		{"ReadKey", []string{"dynamodb:GetItem"}, "${Keys.Arn}", object{"ForAllValues:StringLike": object{"dynamodb:LeadingKeys": []any{"K#*"}}}},
		{"CountRequest", []string{"dynamodb:UpdateItem", "dynamodb:GetItem"}, "${Meters.Arn}", nil},
		{"InvokeUpstream1", invoke, "arn:aws:lambda:eu-west-1:123456789012:function:quotes", nil},
		{"InvokeUpstream2", invoke, "arn:aws:lambda:us-east-1:210987654321:function:prices:live", nil},
		{"WriteLog", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, "${ForwardFunctionLog.Arn}", nil},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("forward's role (-want +got)\n%s", d)
	}
}

// What an upstream answers is passed on as it is.
func TestAnswersAreCompressedWhereNoUpstreamsAre(t *testing.T) {
	for label, c := range map[string]struct {
		tp   *template
		want any
	}{"with upstreams": {forwarding(), nil}, "without": {defaults(), 1024.0}} {
		if got := c.tp.one(t, "AWS::ApiGateway::RestApi", "Api").Properties["MinimumCompressionSize"]; got != c.want {
			t.Errorf("%s: answers are compressed from %v bytes, want %v", label, got, c.want)
		}
	}
}

// Bodies are bytes where upstreams are; then the answer to OPTIONS must be told that its
// own is text. Elsewhere nothing is changed.
func TestBodiesAreBinaryWhereUpstreamsAre(t *testing.T) {
	for label, c := range map[string]struct {
		tp       *template
		types    any
		handling any
	}{
		"with upstreams": {forwarding(), []any{"*/*"}, "CONVERT_TO_TEXT"},
		"without":        {defaults(), nil, nil},
	} {
		if d := cmp.Diff(c.types, c.tp.one(t, "AWS::ApiGateway::RestApi", "Api").Properties["BinaryMediaTypes"]); d != "" {
			t.Errorf("%s: binary media types (-want +got)\n%s", label, d)
		}
		_, mocks := c.tp.methods(t)
		if mocks["/v1/api-keys"] == nil {
			t.Errorf("%s: OPTIONS on %d paths", label, len(mocks))
		}
		told := 0
		for _, m := range c.tp.of("AWS::ApiGateway::Method") {
			if got := dig(m.Properties, "Integration", "ContentHandling"); got != nil && m.Properties["HttpMethod"] == "OPTIONS" && got == c.handling {
				told++
			} else if got != nil {
				t.Errorf("%s: %s: content handling %v", label, m.id, got)
			}
		}
		if want := map[bool]int{true: len(mocks)}[c.handling != nil]; told != want {
			t.Errorf("%s: %d methods have content handling, want %d", label, told, want)
		}
	}
}
