package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/httpapi"
	"github.com/keyreeve/keyreeve/pkg/route"
)

// object is short for what JSON has.
type object = map[string]any

// served is a method as the template has it.
type served struct{ method, path, function, credential string }

// path follows a resource's parents up to the root.
func (tp *template) path(t *testing.T, resource any) string {
	t.Helper()
	if at, ok := resource.(object)["Fn::GetAtt"].([]any); ok && at[1] == "RootResourceId" {
		return ""
	}
	r := tp.Resources[resource.(object)["Ref"].(string)]
	return tp.path(t, r.Properties["ParentId"]) + "/" + r.Properties["PathPart"].(string)
}

// methods lists what the API serves, with the handler of the function behind it and the
// header that its authorizer looks at.
func (tp *template) methods(t *testing.T) (proxies []served, mocks map[string]object) {
	t.Helper()
	mocks = map[string]object{}
	for _, m := range tp.of("AWS::ApiGateway::Method") {
		if got := readable(m.Properties["RestApiId"]); got != "${Api}" {
			t.Errorf("%s is a method of %s", m.id, got)
		}
		path := tp.path(t, m.Properties["ResourceId"])
		if path == "" {
			path = "/"
		}
		one := served{method: m.Properties["HttpMethod"].(string), path: path}
		integration := m.Properties["Integration"].(object)
		switch kind := m.Properties["AuthorizationType"]; kind {
		case "CUSTOM":
			a := tp.Resources[m.Properties["AuthorizerId"].(object)["Ref"].(string)]
			one.credential = strings.TrimPrefix(a.Properties["IdentitySource"].(string), "method.request.header.")
		case "NONE":
		default:
			t.Errorf("%s %s: authorization %v", one.method, path, kind)
		}
		if integration["Type"] == "MOCK" {
			if one.method != "OPTIONS" || one.credential != "" {
				t.Errorf("%s %s is answered by API Gateway itself", one.method, path)
			}
			mocks[path] = m.Properties
			continue
		}
		if integration["Type"] != "AWS_PROXY" || integration["IntegrationHttpMethod"] != "POST" {
			t.Errorf("%s %s: integration %v", one.method, path, integration)
		}
		for id, f := range tp.Resources {
			if f.Type == "AWS::Lambda::Function" && strings.Contains(readable(integration["Uri"]), "functions/${"+name(id)+".Arn}/invocations") {
				one.function = f.Properties["Handler"].(string)
			}
		}
		proxies = append(proxies, one)
	}
	slices.SortFunc(proxies, func(a, b served) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return proxies, mocks
}

func TestEveryStageServesTheRouteTableAndNothingElse(t *testing.T) {
	empty, err := route.Load([]byte(`{"permissions": [], "routes": []}`))
	if err != nil {
		t.Fatal(err)
	}
	upstreams, err := route.Load([]byte(upstreamTable))
	if err != nil {
		t.Fatal(err)
	}
	for label, c := range map[string]struct {
		tp     *template
		table  *route.Table
		stages []string
	}{
		"forwarding": {forwarding(), upstreams, []string{"development", "production", "staging"}},
		"defaults":   {defaults(), route.Default(), []string{"development", "production", "staging"}},
		"everything": {everything(), empty, []string{"development", "production", "shared", "staging"}},
	} {
		var want []served
		paths := map[string]bool{}
		for _, r := range c.table.Routes() {
			want = append(want, served{r.Method, r.Path, r.Function, string(r.Credential)})
			paths[r.Path] = true
		}
		slices.SortFunc(want, func(a, b served) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
		got, mocks := c.tp.methods(t)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(served{})); diff != "" {
			t.Errorf("%s: methods (-route table +template)\n%s", label, diff)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(paths)), slices.Sorted(maps.Keys(mocks))); diff != "" {
			t.Errorf("%s: paths that answer OPTIONS (-route table +template)\n%s", label, diff)
		}
		// All stages are of one deployment, which waits for every method.
		deployments := c.tp.of("AWS::ApiGateway::Deployment")
		if len(deployments) != 1 {
			t.Fatalf("%s: %d deployments", label, len(deployments))
		}
		waits := readables(deployments[0].DependsOn)
		for _, kind := range []string{"AWS::ApiGateway::Method", "AWS::ApiGateway::Authorizer", "AWS::ApiGateway::GatewayResponse"} {
			for _, r := range c.tp.of(kind) {
				if !slices.Contains(waits, r.id) {
					t.Errorf("%s: the deployment does not wait for %s", label, r.id)
				}
			}
		}
		var stages []string
		for _, s := range c.tp.of("AWS::ApiGateway::Stage") {
			stages = append(stages, s.Properties["StageName"].(string))
			if got := s.Properties["DeploymentId"].(object)["Ref"]; got != deployments[0].id {
				t.Errorf("%s: stage %v serves deployment %v", label, s.Properties["StageName"], got)
			}
		}
		slices.Sort(stages)
		if diff := cmp.Diff(c.stages, stages); diff != "" {
			t.Errorf("%s: stages (-want +got)\n%s", label, diff)
		}
	}
}

func TestStages(t *testing.T) {
	want := func(stage string, rate, burst float64) object {
		return object{
			"RestApiId": "${Api}", "StageName": stage, "Variables": object{"environment": stage},
			"AccessLogSetting": object{"DestinationArn": "${AccessLog.Arn}", "Format": accessLogFormat()},
			"MethodSettings": []any{object{
				"HttpMethod": "*", "ResourcePath": "/*", "ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst,
				"LoggingLevel": "OFF", "DataTraceEnabled": false, "MetricsEnabled": false,
			}},
		}
	}
	for _, c := range []struct {
		tp    *template
		stage string
		rate  float64
		burst float64
		waits bool
	}{
		{defaults(), "production", 1000, 2000, true},
		{defaults(), "staging", 100, 200, true},
		{defaults(), "development", 100, 200, true},
		{everything(), "staging", 7, 8, false},
		{everything(), "shared", 1000, 2000, false},
	} {
		found := false
		for _, s := range c.tp.of("AWS::ApiGateway::Stage") {
			if s.Properties["StageName"] != c.stage {
				continue
			}
			found = true
			got := maps.Clone(s.Properties)
			delete(got, "DeploymentId")
			got["RestApiId"] = readable(got["RestApiId"])
			log := maps.Clone(got["AccessLogSetting"].(object))
			log["DestinationArn"] = readable(log["DestinationArn"])
			got["AccessLogSetting"] = log
			if diff := cmp.Diff(want(c.stage, c.rate, c.burst), got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", c.stage, diff)
			}
			// Without the role API Gateway refuses a stage that has an access log.
			if waits := s.DependsOn != nil && strings.HasPrefix(readables(s.DependsOn)[0], "ApiAccount"); waits != c.waits {
				t.Errorf("%s: waits for %v, want API Gateway's role for logs: %t", c.stage, s.DependsOn, c.waits)
			}
		}
		if !found {
			t.Errorf("there is no stage %s", c.stage)
		}
	}
	if n := len(everything().of("AWS::ApiGateway::Account")); n != 0 {
		t.Errorf("accountLogRole is false and %d resources set it", n)
	}
}

func TestTheAPIIsRegionalAndNamedForTheStack(t *testing.T) {
	for _, c := range []struct {
		tp   *template
		name string
	}{{defaults(), "Keyreeve"}, {everything(), "Other"}} {
		got := c.tp.one(t, "AWS::ApiGateway::RestApi", "Api").Properties
		if diff := cmp.Diff(object{"Types": []any{"REGIONAL"}}, got["EndpointConfiguration"]); diff != "" || got["Name"] != c.name {
			t.Errorf("API %v: name %v, want %s\n%s", got, got["Name"], c.name, diff)
		}
	}
}

// statement is what one statement of a policy says.
type statement struct {
	Sid       string
	Actions   []string
	Resource  string
	Condition any
}

func statements(t *testing.T, policy any) []statement {
	t.Helper()
	var out []statement
	for _, s := range many(dig(policy, "Statement")) {
		m := s.(object)
		if m["Effect"] != "Allow" || m["NotAction"] != nil || m["NotResource"] != nil || m["Principal"] != nil {
			t.Errorf("statement %v is not a plain Allow", m)
		}
		resources := readables(m["Resource"])
		if len(resources) != 1 {
			t.Errorf("statement %v has %d resources", m, len(resources))
		}
		out = append(out, statement{Sid: m["Sid"].(string), Actions: readables(m["Action"]), Resource: resources[0], Condition: m["Condition"]})
	}
	return out
}

// The roles, letter by letter. What a function newly calls is to be added here and there.
func TestEachFunctionMayCallWhatItCallsAndNothingElse(t *testing.T) {
	keyItemsOnly := object{"dynamodb:LeadingKeys": []any{"K#*"}}
	readKey := statement{"ReadKey", []string{"dynamodb:GetItem"}, "${Keys.Arn}", object{"ForAllValues:StringLike": keyItemsOnly}}
	readPeppers := statement{"ReadPeppers", []string{"secretsmanager:GetSecretValue"}, "${Pepper}", nil}
	noDigests := object{
		"ForAllValues:StringEquals": object{"dynamodb:Attributes": []any{
			"pk", "sk", "id", "acct", "env", "active", "deleted", "canary", "perms", "created", "verdictAt", "rotated",
			"notBefore", "expires", "version", "gen", "gen0", "until0", "parent",
		}},
		"StringEqualsIfExists": object{"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
	}
	pollStream := func(table string) statement {
		return statement{"PollStream", []string{"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}, "${" + table + ".StreamArn}", nil}
	}
	giveUp := func(queue string) statement {
		return statement{"GiveUp", []string{"sqs:SendMessage"}, "${" + queue + ".Arn}", nil}
	}
	writeLog := func(function string) statement {
		return statement{"WriteLog", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, "${" + function + "FunctionLog.Arn}", nil}
	}
	flush := func(title, stage string) statement {
		return statement{"Flush" + title, []string{"apigateway:DELETE"},
			"arn:${AWS::Partition}:apigateway:${AWS::Region}::/restapis/${Api}/stages/" + stage + "/cache/authorizers", nil}
	}
	want := map[string][]statement{
		"authorizer": {
			readKey,
			{"Redigest", []string{"dynamodb:UpdateItem"}, "${Keys.Arn}", object{
				"ForAllValues:StringLike":   keyItemsOnly,
				"ForAllValues:StringEquals": object{"dynamodb:Attributes": []any{"pk", "sk", "digest", "pepper"}},
				"StringEqualsIfExists":      object{"dynamodb:ReturnValues": []any{"NONE"}},
			}},
			readPeppers,
			writeLog("Authorizer"),
		},
		"keys": {
			{"Keys", []string{"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"}, "${Keys.Arn}", nil},
			{"Meters", []string{"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:BatchGetItem"}, "${Meters.Arn}", nil},
			{"ShowUsage", []string{"dynamodb:Query", "dynamodb:BatchGetItem"}, "${Usage.Arn}", nil},
			{"Alerts", []string{"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}, "${Alerts.Arn}", nil},
			readPeppers,
			flush("Production", "production"), flush("Staging", "staging"), flush("Development", "development"),
			writeLog("Keys"),
		},
		"sample": {
			readKey,
			{"CountRequest", []string{"dynamodb:UpdateItem", "dynamodb:GetItem"}, "${Meters.Arn}", nil},
			{"Documents", []string{"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"}, "${Sample.Arn}", nil},
			writeLog("Sample"),
		},
		"console": {writeLog("Console")},
		"stream": {
			readKey,
			{"SettleMeters", []string{"dynamodb:UpdateItem"}, "${Meters.Arn}", nil},
			pollStream("Keys"),
			giveUp("StreamGaveUp"),
			flush("Production", "production"), flush("Staging", "staging"), flush("Development", "development"),
			writeLog("Stream"),
		},
		"flush": {
			pollStream("Keys"),
			giveUp("StreamGaveUp"),
			flush("Production", "production"), flush("Staging", "staging"), flush("Development", "development"),
			writeLog("Flush"),
		},
		"usage": {
			{"CountUsage", []string{"dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, "${Usage.Arn}", nil},
			{"RaiseAlerts", []string{"dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, "${Alerts.Arn}", nil},
			{"FindOwner", []string{"dynamodb:GetItem"}, "${Keys.Arn}", noDigests},
			{"SweepKeys", []string{"dynamodb:Scan"}, "${Keys.Arn}", noDigests},
			{"SecondWitness", []string{"dynamodb:BatchGetItem"}, "${Meters.Arn}", nil},
			giveUp("UsageGaveUp"),
			{"Redrive", []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}, "${UsageGaveUp.Arn}", nil},
			writeLog("Usage"),
		},
		"notify": {
			{"Deliveries", []string{"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}, "${Alerts.Arn}", nil},
			readPeppers,
			{"PublishAlerts", []string{"events:PutEvents"}, "${AlertBus.Arn}", nil},
			pollStream("Alerts"),
			giveUp("NotifyGaveUp"),
			writeLog("Notify"),
		},
		"admin": {
			{"Keys", []string{"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, "${Keys.Arn}", nil},
			{"NewMeter", []string{"dynamodb:PutItem"}, "${Meters.Arn}", nil},
			readPeppers,
			{"RotatePepper", []string{"secretsmanager:PutSecretValue"}, "${Pepper}", nil},
			writeLog("Admin"),
		},
	}
	tp := defaults()
	got, roles := map[string][]statement{}, map[string]string{}
	for _, f := range tp.of("AWS::Lambda::Function") {
		handler := f.Properties["Handler"].(string)
		id := f.Properties["Role"].(object)["Fn::GetAtt"].([]any)[0].(string)
		if roles[id] != "" {
			t.Errorf("%s and %s have one role", handler, roles[id])
		}
		roles[id] = handler
		role := tp.Resources[id].Properties
		if role["ManagedPolicyArns"] != nil {
			t.Errorf("%s: the role has policies of others: %v", handler, role["ManagedPolicyArns"])
		}
		for _, p := range role["Policies"].([]any) {
			got[handler] = append(got[handler], statements(t, dig(p, "PolicyDocument"))...)
		}
		trust := object{"Version": "2012-10-17", "Statement": []any{object{
			"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": object{"Service": "lambda.amazonaws.com"},
		}}}
		if diff := cmp.Diff(trust, role["AssumeRolePolicyDocument"]); diff != "" {
			t.Errorf("%s: who may take the role (-want +got)\n%s", handler, diff)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles (-want +got)\n%s", diff)
	}
	// Nothing is granted in any other way.
	for _, r := range tp.Resources {
		switch r.Type {
		case "AWS::IAM::Role":
			if roles[r.id] == "" && name(r.id) != "ApiCloudWatchRole" {
				t.Errorf("role %s is no function's", r.id)
			}
		case "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group",
			"AWS::SecretsManager::ResourcePolicy", "AWS::Events::EventBusPolicy", "AWS::DynamoDB::ResourcePolicy", "AWS::Lambda::Url", "AWS::Lambda::LayerVersionPermission":
			t.Errorf("%s is a %s", r.id, r.Type)
		}
	}
	if got := readables(tp.one(t, "AWS::IAM::Role", "ApiCloudWatchRole").Properties["ManagedPolicyArns"]); !slices.Equal(got, []string{"arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"}) {
		t.Errorf("API Gateway's role for logs has %v", got)
	}
}

func TestWhoMayInvokeAFunction(t *testing.T) {
	got := map[string][]string{}
	for _, p := range defaults().of("AWS::Lambda::Permission") {
		if p.Properties["Action"] != "lambda:InvokeFunction" {
			t.Errorf("%s: %v may %v", p.id, p.Properties["Principal"], p.Properties["Action"])
		}
		f := readable(p.Properties["FunctionName"])
		got[f] = append(got[f], p.Properties["Principal"].(string)+" for "+readable(p.Properties["SourceArn"]))
		slices.Sort(got[f])
	}
	const api = "apigateway.amazonaws.com for arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}"
	want := map[string][]string{
		"${AuthorizerFunction.Arn}": {api + "/authorizers/${AuthorizationAuthorizer}", api + "/authorizers/${KeyAuthorizer}"},
		"${ConsoleFunction.Arn}":    {api + "/*/*/*"},
		"${KeysFunction.Arn}":       {api + "/*/*/*"},
		"${SampleFunction.Arn}":     {api + "/*/*/*"},
		"${UsageFunction.Arn}": {
			"events.amazonaws.com for ${SweepKeys.Arn}",
			"logs.amazonaws.com for ${AccessLog.Arn}", "logs.amazonaws.com for ${AuthorizerFunctionLog.Arn}",
			"logs.amazonaws.com for ${KeysFunctionLog.Arn}", "logs.amazonaws.com for ${SampleFunctionLog.Arn}",
		},
		"${NotifyFunction.Arn}": {"events.amazonaws.com for ${DeliverAgain.Arn}"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Who may do what to the queues and the topic besides the functions' roles.
func TestQueuesAndTopicsTakeNothingFromStrangers(t *testing.T) {
	const tls = "Deny"
	got := map[string][]string{}
	for _, kind := range []string{"AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"} {
		for _, p := range defaults().of(kind) {
			for _, s := range many(dig(p.Properties, "PolicyDocument", "Statement")) {
				text := fmt.Sprintf("%v %v %v", dig(s, "Effect"), dig(s, "Action"), readable(dig(s, "Principal", "Service")))
				if dig(s, "Effect") == tls {
					if dig(s, "Condition", "Bool", "aws:SecureTransport") != "false" {
						t.Errorf("%s: %v", p.id, s)
					}
					text = "TLS"
				} else if arn := dig(s, "Condition", "ArnEquals", "aws:SourceArn"); arn != nil {
					text += " for " + readable(arn)
				}
				got[name(p.id)] = append(got[name(p.id)], text)
			}
		}
	}
	want := map[string][]string{
		"StreamGaveUpPolicy": {"TLS"},
		"UsageGaveUpPolicy":  {"TLS"},
		"NotifyGaveUpPolicy": {"TLS", "Allow sqs:SendMessage events.amazonaws.com for ${AlertsToTopic.Arn}"},
		"AlertTopicPolicy":   {"TLS", "Allow sns:Publish events.amazonaws.com"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// wildcards finds what a policy or permission names by a wildcard.
func wildcards(v any, at string) (found []string) {
	switch v := v.(type) {
	case object:
		for n, e := range v {
			switch n {
			case "Resource", "SourceArn", "Principal", "NotResource", "NotPrincipal", "Action", "NotAction", "ManagedPolicyArns":
				for _, one := range many(e) {
					if text := readable(one); strings.Contains(text, "*") || n == "ManagedPolicyArns" || strings.HasPrefix(n, "Not") ||
						(n == "Resource" || n == "SourceArn") && strings.HasSuffix(text, "Log.Arn}") { // an ARN of a log group ends with ":*"
						found = append(found, at+n+" "+text)
					}
				}
			default:
				found = append(found, wildcards(e, at+n+".")...)
			}
		}
	case []any:
		for _, e := range v {
			found = append(found, wildcards(e, at)...)
		}
	}
	return found
}

func TestNoWildcardWithoutAReasonBesideIt(t *testing.T) {
	for label, tp := range map[string]*template{"defaults": defaults(), "everything": everything()} {
		with := 0
		for _, r := range tp.Resources {
			reason, _ := r.Metadata[wildcardMetadata].(string)
			found := wildcards(r.Properties, "")
			switch {
			case len(found) > 0 && len(reason) < 20:
				t.Errorf("%s: %s: %v without a reason", label, r.id, found)
			case len(found) == 0 && reason != "":
				t.Errorf("%s: %s has a reason for a wildcard, and none", label, r.id)
			case len(found) > 0:
				with++
			}
		}
		if with == 0 {
			t.Errorf("%s: no wildcard was found, not even those that there are", label)
		}
	}
}

func TestTables(t *testing.T) {
	schema := func(keys ...string) (schema, attributes []any) {
		for i, k := range keys {
			schema = append(schema, object{"AttributeName": k, "KeyType": []string{"HASH", "RANGE"}[i]})
			attributes = append(attributes, object{"AttributeName": k, "AttributeType": "S"})
		}
		return schema, attributes
	}
	table := func(protected bool, ttl bool, stream string, keys ...string) object {
		s, a := schema(keys...)
		out := object{
			"KeySchema": s, "AttributeDefinitions": a, "BillingMode": "PAY_PER_REQUEST", "DeletionProtectionEnabled": protected,
			"PointInTimeRecoverySpecification": object{"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 35.0},
		}
		if ttl {
			out["TimeToLiveSpecification"] = object{"AttributeName": "ttl", "Enabled": true}
		}
		if stream != "" {
			out["StreamSpecification"] = object{"StreamViewType": stream}
		}
		return out
	}
	for label, c := range map[string]struct {
		tp     *template
		policy string
		want   map[string]object
	}{
		"defaults": {defaults(), "Retain", map[string]object{
			"Keys": table(true, true, "NEW_AND_OLD_IMAGES", "pk", "sk"), "Meters": table(true, false, "", "id"), "Sample": table(true, true, "", "pk", "sk"),
			"Usage": table(true, true, "", "pk", "sk"), "Alerts": table(true, true, "NEW_IMAGE", "pk", "sk"),
		}},
		"everything": {everything(), "Delete", map[string]object{ // disposable, and no route is the sample's
			"Keys": table(false, true, "NEW_AND_OLD_IMAGES", "pk", "sk"), "Meters": table(false, false, "", "id"),
			"Usage": table(false, true, "", "pk", "sk"), "Alerts": table(false, true, "NEW_IMAGE", "pk", "sk"),
		}},
	} {
		got := map[string]object{}
		for _, r := range c.tp.of("AWS::DynamoDB::Table") {
			got[name(r.id)] = r.Properties
			if r.DeletionPolicy != c.policy || r.UpdateReplacePolicy != c.policy {
				t.Errorf("%s: %s: DeletionPolicy %s, UpdateReplacePolicy %s, want %s", label, r.id, r.DeletionPolicy, r.UpdateReplacePolicy, c.policy)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
	}
}

// A change of GenerateSecretString makes CloudFormation draw another pepper in the place
// of the one that all keys are digested with. So this test is not to be adapted.
func TestThePepperIsNeverDrawnASecondTime(t *testing.T) {
	want := object{
		"SecretStringTemplate": `{"current":"p1"}`, "GenerateStringKey": "p1", "PasswordLength": 64.0, "ExcludePunctuation": true,
	}
	for label, c := range map[string]struct {
		tp     *template
		policy string
	}{"defaults": {defaults(), "Retain"}, "everything": {everything(), "Delete"}} {
		secrets := c.tp.of("AWS::SecretsManager::Secret")
		if len(secrets) != 1 {
			t.Fatalf("%s: %d secrets", label, len(secrets))
		}
		s := secrets[0]
		if diff := cmp.Diff(want, s.Properties["GenerateSecretString"]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
		for _, other := range []string{"SecretString", "Name", "KmsKeyId"} { // a new name or key is a new secret
			if s.Properties[other] != nil {
				t.Errorf("%s: the secret has a %s", label, other)
			}
		}
		if s.id != "Pepper2B9638F2" {
			t.Errorf("%s: the secret goes by %s: a new logical id is a new secret", label, s.id)
		}
		if s.DeletionPolicy != c.policy || s.UpdateReplacePolicy != c.policy {
			t.Errorf("%s: DeletionPolicy %s, UpdateReplacePolicy %s, want %s", label, s.DeletionPolicy, s.UpdateReplacePolicy, c.policy)
		}
	}
}

// A new logical id is a new, empty table, however much of the old one is kept.
func TestTablesKeepTheirLogicalIDs(t *testing.T) {
	var got []string
	for _, r := range defaults().of("AWS::DynamoDB::Table") {
		got = append(got, r.id)
	}
	if diff := cmp.Diff([]string{"Alerts91F83244", "Keys4E30B592", "Meters6AC7D562", "Sample9DACD4DE", "Usage04F2BA28"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAuthorizers(t *testing.T) {
	for label, c := range map[string]struct {
		tp  *template
		ttl float64
	}{"defaults": {defaults(), 60}, "everything": {everything(), 0}} {
		got := map[string]object{}
		for _, a := range c.tp.of("AWS::ApiGateway::Authorizer") {
			p := a.Properties
			if uri := readable(p["AuthorizerUri"]); !strings.HasSuffix(uri, ":lambda:path/2015-03-31/functions/${AuthorizerFunction.Arn}/invocations") {
				t.Errorf("%s: %s calls %s", label, a.id, uri)
			}
			got[name(a.id)] = object{"Type": p["Type"], "IdentitySource": p["IdentitySource"], "AuthorizerResultTtlInSeconds": p["AuthorizerResultTtlInSeconds"]}
		}
		want := map[string]object{
			"KeyAuthorizer":           {"Type": "REQUEST", "IdentitySource": "method.request.header.X-API-Key", "AuthorizerResultTtlInSeconds": c.ttl},
			"AuthorizationAuthorizer": {"Type": "REQUEST", "IdentitySource": "method.request.header.Authorization", "AuthorizerResultTtlInSeconds": c.ttl},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
	}
}

func TestEveryGatewayResponseIsHTTPAPIs(t *testing.T) {
	for label, c := range map[string]struct {
		tp      *template
		origins []string
	}{"defaults": {defaults(), []string{"*"}}, "everything": {everything(), []string{"https://a.example", "https://b.example"}}} {
		want := map[string]object{}
		for _, r := range httpapi.GatewayResponses(c.origins) {
			headers := object{}
			for n, e := range r.Header {
				headers["gatewayresponse.header."+n] = e
			}
			row := object{
				"ResponseType": r.Type, "ResponseParameters": headers, "RestApiId": "${Api}",
				"ResponseTemplates": object{"application/json": r.Template},
			}
			if r.Status != 0 {
				row["StatusCode"] = strconv.Itoa(r.Status)
			}
			want[r.Type] = row
		}
		got := map[string]object{}
		for _, r := range c.tp.of("AWS::ApiGateway::GatewayResponse") {
			p := maps.Clone(r.Properties)
			p["RestApiId"] = readable(p["RestApiId"])
			got[p["ResponseType"].(string)] = p
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-httpapi +template)\n%s", label, diff)
		}
		if n := len(c.tp.of("AWS::ApiGateway::GatewayResponse")); n != len(want) {
			t.Errorf("%s: %d gateway responses, want %d", label, n, len(want))
		}
	}
}

func TestPreflightIsAnsweredAsTheLocalGatewayDoes(t *testing.T) {
	_, mocks := defaults().methods(t)
	parameters := func(mocks map[string]object, path string) (status any, out object) {
		r := many(dig(mocks[path], "Integration", "IntegrationResponses"))[0].(object)
		return r["StatusCode"], r["ResponseParameters"].(object)
	}
	status, got := parameters(mocks, "/v1/customers/{customerId}")
	want := object{
		"method.response.header.Access-Control-Allow-Headers": "'Authorization,Content-Type,Idempotency-Key,If-Match,If-None-Match,X-API-Key'",
		"method.response.header.Access-Control-Allow-Methods": "'DELETE,GET,OPTIONS,PUT'",
		"method.response.header.Access-Control-Allow-Origin":  "'*'",
		"method.response.header.Access-Control-Max-Age":       "'600'",
	}
	if diff := cmp.Diff(want, got); diff != "" || status != "204" {
		t.Errorf("status %v (-want +got)\n%s", status, diff)
	}
	_, mocks = everything().methods(t)
	_, got = parameters(mocks, "/v1/api-keys")
	if got["method.response.header.Access-Control-Allow-Origin"] != "'https://a.example'" || got["method.response.header.Vary"] != "'Origin'" {
		t.Errorf("two origins: %v", got)
	}
	template := dig(many(dig(mocks["/v1/api-keys"], "Integration", "IntegrationResponses"))[0], "ResponseTemplates", "application/json")
	if !strings.Contains(fmt.Sprint(template), `$origin == "https://b.example"`) {
		t.Errorf("the second origin is not answered with itself: %v", template)
	}
}

func TestFunctions(t *testing.T) {
	for label, c := range map[string]struct {
		tp       *template
		arch     string
		handlers []string
	}{
		"defaults":   {defaults(), "arm64", []string{"admin", "authorizer", "console", "flush", "keys", "notify", "sample", "stream", "usage"}},
		"everything": {everything(), "x86_64", []string{"admin", "authorizer", "console", "flush", "keys", "notify", "stream", "usage"}}, // no route is the sample's
	} {
		var handlers []string
		codes := map[string]bool{}
		for _, f := range c.tp.of("AWS::Lambda::Function") {
			p := f.Properties
			handler := p["Handler"].(string)
			handlers = append(handlers, handler)
			codes[readable(p["Code"])] = true
			if p["Runtime"] != "provided.al2023" || cmp.Diff([]any{c.arch}, p["Architectures"]) != "" || p["VpcConfig"] != nil || p["FunctionName"] != nil {
				t.Errorf("%s: %s: %v", label, handler, p)
			}
			if got := readable(dig(p, "LoggingConfig", "LogGroup")); got != "${"+title(handler)+"FunctionLog}" {
				t.Errorf("%s: %s logs to %s", label, handler, got)
			}
			if timeout := p["Timeout"].(float64); slices.Contains([]string{"authorizer", "keys", "sample", "console"}, handler) && timeout >= 29 {
				t.Errorf("%s: %s may take %v s, and API Gateway waits for 29", label, handler, timeout)
			}
			if f.DependsOn != nil {
				t.Errorf("%s: %s waits for %v, all of which it refers to", label, handler, f.DependsOn)
			}
			// What the function itself makes of its environment.
			env := object{}
			if p["Environment"] != nil {
				env = p["Environment"].(object)["Variables"].(object)
			}
			cfg, err := config.Load(func(n string) string {
				switch n {
				case "_HANDLER":
					return handler
				case "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN":
					return "lambda-sets-it"
				}
				if env[n] == nil {
					return ""
				}
				return readable(env[n])
			})
			if err != nil {
				t.Errorf("%s: %s would not start: %v", label, handler, err)
				continue
			}
			want := config.Config{KeysTable: "${Keys}", MetersTable: "${Meters}", PepperSecret: "${Pepper}"}
			namespace := map[string]string{"defaults": "Keyreeve/Keyreeve", "everything": "Keyreeve/Other"}[label]
			want.MetricsNamespace = "Keyreeve" // config's own: they write no metrics
			switch handler {
			case "keys", "stream", "flush":
				want.RestAPIID = "${Api}"
			}
			if handler == "authorizer" && p["Timeout"] != cfg.AuthorizerTimeout.Seconds() {
				t.Errorf("%s: the authorizer may take %v s, and the functions believe %s", label, p["Timeout"], cfg.AuthorizerTimeout)
			}
			switch handler {
			case "sample":
				want.SampleTable = "${Sample}"
			case "keys":
				want.UsageTable, want.AlertsTable = "${Usage}", "${Alerts}"
			case "usage":
				want.UsageTable, want.AlertsTable, want.MetricsNamespace = "${Usage}", "${Alerts}", namespace
			case "notify":
				want.AlertsTable, want.EventBus, want.MetricsNamespace = "${Alerts}", "${AlertBus}", namespace
			}
			switch {
			case handler == "console": // nothing at all
				want = config.Config{MetricsNamespace: want.MetricsNamespace}
				if len(env) > 0 {
					t.Errorf("%s: the console is told %v", label, env)
				}
			case label == "everything":
				want.RoutesFile = "routes.json"
				if cfg.Settings.PrefixFor("account", "production") != "ml_prod" || *cfg.Settings.AuthorizerCacheSeconds != 0 {
					t.Errorf("%s: settings %+v", handler, cfg.Settings)
				}
			}
			if cfg.WebhooksAnywhere {
				t.Errorf("%s: %s sends webhooks anywhere", label, handler)
			}
			got := config.Config{
				KeysTable: cfg.KeysTable, MetersTable: cfg.MetersTable, SampleTable: cfg.SampleTable, UsageTable: cfg.UsageTable, AlertsTable: cfg.AlertsTable,
				PepperSecret: cfg.PepperSecret, RoutesFile: cfg.RoutesFile, EventBus: cfg.EventBus, MetricsNamespace: cfg.MetricsNamespace,
				RestAPIID: cfg.RestAPIID,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s's environment (-want +got)\n%s", label, handler, diff)
			}
			if size := len(readable(env)); size > 4<<10 {
				t.Errorf("%s: %s's environment has %d bytes", label, handler, size)
			}
		}
		slices.Sort(handlers)
		if diff := cmp.Diff(c.handlers, handlers); diff != "" {
			t.Errorf("%s: functions (-want +got)\n%s", label, diff)
		}
		if len(codes) != 1 {
			t.Errorf("%s: %d assets, want one for all functions", label, len(codes))
		}
	}
}

func TestWhatAStreamBringsAndFailsEndsInAQueue(t *testing.T) {
	stream := func(table, function, queue string, filter object) object {
		return object{
			"EventSourceArn": "${" + table + ".StreamArn}", "FunctionName": "${" + function + "Function}", "DestinationConfig": "${" + queue + ".Arn}",
			"BatchSize": 100.0, "StartingPosition": "TRIM_HORIZON", "BisectBatchOnFunctionError": true,
			"MaximumRetryAttempts": 10.0, "MaximumRecordAgeInSeconds": 21600.0, "FunctionResponseTypes": []any{"ReportBatchItemFailures"},
			"FilterCriteria": filter,
		}
	}
	keyItems := object{
		"eventName": []any{"INSERT", "MODIFY"},
		"dynamodb":  object{"Keys": object{"pk": object{"S": []any{object{"prefix": "K#"}}}}},
	}
	want := map[string]object{
		"KeyChanges":      stream("Keys", "Stream", "StreamGaveUp", keyItems),
		"KeyChangesLater": stream("Keys", "Flush", "StreamGaveUp", keyItems),
		"NewAlerts": stream("Alerts", "Notify", "NotifyGaveUp", object{
			"eventName": []any{"INSERT"},
			"dynamodb":  object{"Keys": object{"sk": object{"S": []any{object{"prefix": "A#"}}}}},
		}),
		// The way back of what was not counted: off, until somebody turns it on.
		"UsageRedrive": {
			"EventSourceArn": "${UsageGaveUp.Arn}", "FunctionName": "${UsageFunction}", "Enabled": false, "BatchSize": 1.0,
			"ScalingConfig": object{"MaximumConcurrency": 2.0}, "FunctionResponseTypes": []any{"ReportBatchItemFailures"},
		},
	}
	got := map[string]object{}
	for _, m := range defaults().of("AWS::Lambda::EventSourceMapping") {
		p := maps.Clone(m.Properties)
		for _, n := range []string{"EventSourceArn", "FunctionName"} {
			p[n] = readable(p[n])
		}
		if to := dig(p, "DestinationConfig", "OnFailure", "Destination"); to != nil {
			p["DestinationConfig"] = readable(to)
		}
		if filters := dig(p, "FilterCriteria", "Filters"); filters != nil {
			var filter object
			if err := json.Unmarshal([]byte(dig(many(filters)[0], "Pattern").(string)), &filter); err != nil || len(many(filters)) != 1 {
				t.Fatal(err, filters)
			}
			p["FilterCriteria"] = filter
		}
		got[name(m.id)] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mappings (-want +got)\n%s", diff)
	}
}

func TestQueuesKeepWhatWasGivenUpForTwoWeeks(t *testing.T) {
	want := map[string]object{
		"StreamGaveUp": {"MessageRetentionPeriod": 1209600.0, "SqsManagedSseEnabled": true},
		"NotifyGaveUp": {"MessageRetentionPeriod": 1209600.0, "SqsManagedSseEnabled": true},
		// Six times what the function may take.
		"UsageGaveUp": {"MessageRetentionPeriod": 1209600.0, "SqsManagedSseEnabled": true, "VisibilityTimeout": 1800.0},
	}
	got := map[string]object{}
	for _, q := range defaults().of("AWS::SQS::Queue") {
		got[name(q.id)] = q.Properties
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The usage function gets the whole access log, and of every log that the authorizer or a
// guard writes what it counts. It must not get its own, or it would never come to an end.
func TestTheLogsThatRequestsLeaveAreSubscribed(t *testing.T) {
	const events = `{ $.msg = "refused" || $.msg = "near limit" }`
	for label, c := range map[string]struct {
		tp   *template
		want map[string]string
	}{
		"defaults": {defaults(), map[string]string{
			"${AccessLog}": "", "${AuthorizerFunctionLog}": events, "${KeysFunctionLog}": events, "${SampleFunctionLog}": events,
		}},
		"everything": {everything(), map[string]string{"${AccessLog}": "", "${AuthorizerFunctionLog}": events, "${KeysFunctionLog}": events}},
	} {
		got := map[string]string{}
		for _, f := range c.tp.of("AWS::Logs::SubscriptionFilter") {
			group := readable(f.Properties["LogGroupName"])
			got[group] = f.Properties["FilterPattern"].(string)
			if to := readable(f.Properties["DestinationArn"]); to != "${UsageFunction.Arn}" {
				t.Errorf("%s: %s goes to %s", label, group, to)
			}
			// CloudWatch Logs tries the function when the filter is made.
			waits := false
			for _, on := range readables(f.DependsOn) {
				p := c.tp.Resources[on]
				waits = waits || p.Type == "AWS::Lambda::Permission" && readable(p.Properties["SourceArn"]) == strings.TrimSuffix(group, "}")+".Arn}"
			}
			if !waits {
				t.Errorf("%s: %s is subscribed before it may be: DependsOn %v", label, group, f.DependsOn)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
	}
}

// What is invoked without anybody waiting, and fails: log lines go into the queue, whole;
// a turn of the notify function has its next a minute later.
func TestWhatBecomesOfFailedInvocations(t *testing.T) {
	want := map[string]object{
		"${UsageFunction}":  {"MaximumRetryAttempts": 2.0, "MaximumEventAgeInSeconds": 21600.0, "Qualifier": "$LATEST", "DestinationConfig": "${UsageGaveUp.Arn}"},
		"${NotifyFunction}": {"MaximumRetryAttempts": 0.0, "MaximumEventAgeInSeconds": 60.0, "Qualifier": "$LATEST"},
	}
	got := map[string]object{}
	for _, c := range defaults().of("AWS::Lambda::EventInvokeConfig") {
		p := maps.Clone(c.Properties)
		function := readable(p["FunctionName"])
		delete(p, "FunctionName")
		if to := dig(p, "DestinationConfig", "OnFailure", "Destination"); to != nil {
			p["DestinationConfig"] = readable(to)
		}
		got[function] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRulesOfTheEventBus(t *testing.T) {
	for label, c := range map[string]struct {
		tp  *template
		bus string
	}{"defaults": {defaults(), "Keyreeve"}, "everything": {everything(), "Other"}} {
		if got := c.tp.one(t, "AWS::Events::EventBus", "AlertBus").Properties["Name"]; got != c.bus {
			t.Errorf("%s: the bus is called %v, want %s", label, got, c.bus)
		}
		want := map[string]string{
			"SweepKeys":     "rate(1 hour) → ${UsageFunction.Arn}",
			"DeliverAgain":  "rate(1 minute) → ${NotifyFunction.Arn}",
			"AlertsToTopic": `${AlertBus} {"source":["keyreeve"]} → ${AlertTopic}, else ${NotifyGaveUp.Arn}`,
		}
		got := map[string]string{}
		for _, r := range c.tp.of("AWS::Events::Rule") {
			p := r.Properties
			targets := many(p["Targets"])
			text := readable(p["ScheduleExpression"])
			if p["EventPattern"] != nil {
				text = readable(p["EventBusName"]) + " " + readable(p["EventPattern"])
			}
			text += " → " + readable(dig(targets[0], "Arn"))
			if dead := dig(targets[0], "DeadLetterConfig", "Arn"); dead != nil {
				text += ", else " + readable(dead)
			}
			if len(targets) != 1 || p["State"] != "ENABLED" || dig(targets[0], "RoleArn") != nil || dig(targets[0], "Input") != nil {
				t.Errorf("%s: %s: %v", label, r.id, p)
			}
			got[name(r.id)] = text
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
	}
}

func TestLogsAreKeptAsLongAsChosen(t *testing.T) {
	for label, c := range map[string]struct {
		tp   *template
		days float64
		n    int
	}{"defaults": {defaults(), 30, 10}, "everything": {everything(), 7, 9}} {
		groups := c.tp.of("AWS::Logs::LogGroup")
		if len(groups) != c.n {
			t.Errorf("%s: %d log groups, want one for each function and the access log", label, len(groups))
		}
		for _, g := range groups {
			if g.Properties["RetentionInDays"] != c.days || g.DeletionPolicy != "Delete" {
				t.Errorf("%s: %s: %v days, DeletionPolicy %s", label, g.id, g.Properties["RetentionInDays"], g.DeletionPolicy)
			}
		}
	}
}

func TestAlarms(t *testing.T) {
	want := map[string]string{
		"AuthorizerFailsAlarm":    "Keyreeve/Keyreeve AuthorizerFailures {} Sum >= 1",
		"ServerErrorsAlarm":       "AWS/ApiGateway 5XXError {ApiName=Keyreeve} Sum >= 5",
		"StreamBehindAlarm":       "AWS/Lambda IteratorAge {FunctionName=${StreamFunction}} Maximum >= 300000",
		"StreamGaveUpAlarm":       "AWS/SQS ApproximateNumberOfMessagesVisible {QueueName=${StreamGaveUp.QueueName}} Maximum >= 1",
		"FlushBehindAlarm":        "AWS/Lambda IteratorAge {FunctionName=${FlushFunction}} Maximum >= 300000",
		"LateAcceptsAlarm":        "Keyreeve/Keyreeve LateAccepts {} Sum >= 1",
		"StageThrottledAlarm":     "Keyreeve/Keyreeve ThrottledRequests {} Sum >= 1",
		"UsageFailsAlarm":         "AWS/Lambda Errors {FunctionName=${UsageFunction}} Sum >= 1",
		"UsageGaveUpAlarm":        "AWS/SQS ApproximateNumberOfMessagesVisible {QueueName=${UsageGaveUp.QueueName}} Maximum >= 1",
		"UsageLostAlarm":          "AWS/Lambda DestinationDeliveryFailures {FunctionName=${UsageFunction}} Sum >= 1",
		"UsageBehindAlarm":        "Keyreeve/Keyreeve Lag {} Maximum >= 900000",
		"UsageDriftsAlarm":        "Keyreeve/Keyreeve Drift {} Maximum in an hour >= 1",
		"LinesUnreadableAlarm":    "Keyreeve/Keyreeve LinesUnreadable {} Sum >= 1",
		"NotifyFailsAlarm":        "AWS/Lambda Errors {FunctionName=${NotifyFunction}} Sum >= 1",
		"NotifyBehindAlarm":       "AWS/Lambda IteratorAge {FunctionName=${NotifyFunction}} Maximum >= 300000",
		"NotifyGaveUpAlarm":       "AWS/SQS ApproximateNumberOfMessagesVisible {QueueName=${NotifyGaveUp.QueueName}} Maximum >= 1",
		"WebhooksDeadAlarm":       "Keyreeve/Keyreeve WebhooksDead {} Sum >= 1",
		"FunctionsThrottledAlarm": "FILL(f0,0)+FILL(f1,0)+FILL(f2,0) AWS/Lambda Throttles {FunctionName=${AuthorizerFunction}} Sum, AWS/Lambda Throttles {FunctionName=${KeysFunction}} Sum, AWS/Lambda Throttles {FunctionName=${SampleFunction}} Sum >= 1",
		"TablesThrottledAlarm":    "FILL(t0,0)+FILL(t1,0)+FILL(t2,0)+FILL(t3,0) AWS/DynamoDB ReadThrottleEvents {TableName=${Keys}} Sum, AWS/DynamoDB WriteThrottleEvents {TableName=${Keys}} Sum, AWS/DynamoDB ReadThrottleEvents {TableName=${Meters}} Sum, AWS/DynamoDB WriteThrottleEvents {TableName=${Meters}} Sum >= 1",
	}
	got := map[string]string{}
	metrics := 0 // that the alarms look at: what they cost
	for _, a := range defaults().of("AWS::CloudWatch::Alarm") {
		p := a.Properties
		if p["ComparisonOperator"] != "GreaterThanOrEqualToThreshold" || p["TreatMissingData"] != "notBreaching" || p["EvaluationPeriods"] != 1.0 {
			t.Errorf("%s: %v", a.id, p)
		}
		if text, _ := p["AlarmDescription"].(string); len(text) < 40 {
			t.Errorf("%s does not say what to do", a.id)
		}
		if p["AlarmActions"] != nil {
			t.Errorf("%s tells %v, and nobody wants to know", a.id, p["AlarmActions"])
		}
		text := metric(t, p)
		metrics++
		if list, ok := p["Metrics"].([]any); ok {
			var expression string
			var parts []string
			for _, m := range list {
				if e := dig(m, "Expression"); e != nil {
					expression = e.(string)
					continue
				}
				stat := maps.Clone(dig(m, "MetricStat", "Metric").(object))
				stat["Statistic"], stat["Period"] = dig(m, "MetricStat", "Stat"), dig(m, "MetricStat", "Period")
				parts = append(parts, metric(t, stat))
			}
			text = expression + " " + strings.Join(parts, ", ")
			metrics += len(parts) - 1
		}
		got[name(a.id)] = text + fmt.Sprintf(" >= %.0f", p["Threshold"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if metrics != 24 {
		t.Errorf("%d metrics are looked at: bench/cost has 24 on its bill", metrics)
	}
	filters := map[string]any{}
	for _, f := range defaults().of("AWS::Logs::MetricFilter") {
		m := many(f.Properties["MetricTransformations"])[0].(object)
		if readable(f.Properties["LogGroupName"]) != "${AccessLog}" || m["MetricValue"] != "1" || m["MetricNamespace"] != "Keyreeve/Keyreeve" {
			t.Errorf("%s: %v", f.id, f.Properties)
		}
		filters[m["MetricName"].(string)] = f.Properties["FilterPattern"]
	}
	if diff := cmp.Diff(map[string]any{
		"AuthorizerFailures": `{ $.responseType = "AUTHORIZER_*" }`,
		"ThrottledRequests":  `{ $.responseType = "THROTTLED" }`,
	}, filters); diff != "" {
		t.Errorf("filters of the access log (-want +got)\n%s", diff)
	}
}

// metric says which metric an alarm or a part of it is about.
func metric(t *testing.T, p object) string {
	t.Helper()
	if p["Metrics"] != nil {
		return ""
	}
	statistic := fmt.Sprint(p["Statistic"])
	switch p["Period"] {
	case 300.0:
	case 3600.0:
		statistic += " in an hour"
	default:
		t.Errorf("%v is looked at for %v s", p["MetricName"], p["Period"])
	}
	var dimensions []string
	for _, d := range many(p["Dimensions"]) {
		if d != nil {
			dimensions = append(dimensions, fmt.Sprintf("%v=%s", dig(d, "Name"), readable(dig(d, "Value"))))
		}
	}
	return fmt.Sprintf("%v %v {%s} %s", p["Namespace"], p["MetricName"], strings.Join(dimensions, " "), statistic)
}

func TestAlarmsAndAlertsGoToTheirEMailAddresses(t *testing.T) {
	mailed := func(tp *template) (out []string) {
		for _, s := range tp.of("AWS::SNS::Subscription") {
			out = append(out, fmt.Sprint(readable(s.Properties["TopicArn"]), " ", s.Properties["Protocol"], " ", s.Properties["Endpoint"]))
		}
		slices.Sort(out)
		return out
	}
	tp := everything()
	if diff := cmp.Diff([]string{"${Alarms} email ops@example.com", "${AlertTopic} email team@example.com"}, mailed(tp)); diff != "" {
		t.Errorf("subscriptions (-want +got)\n%s", diff)
	}
	// Others may subscribe to alerts at any time, so their topic is always there.
	if topics := defaults().of("AWS::SNS::Topic"); len(topics) != 1 || name(topics[0].id) != "AlertTopic" || len(mailed(defaults())) != 0 {
		t.Errorf("%d topics and %d subscriptions, and nobody wants to be told", len(topics), len(mailed(defaults())))
	}
	alarms := tp.of("AWS::CloudWatch::Alarm")
	for _, a := range alarms {
		if got := readables(a.Properties["AlarmActions"]); !slices.Equal(got, []string{"${Alarms}"}) {
			t.Errorf("%s tells %v", a.id, got)
		}
	}
	if len(alarms) != 19 {
		t.Errorf("%d alarms", len(alarms))
	}
}

func TestTheDashboardShowsEveryFunctionAndStage(t *testing.T) {
	const freeMetrics = 50 // of a dashboard that costs nothing
	for label, tp := range map[string]*template{"defaults": defaults(), "everything": everything()} {
		boards := tp.of("AWS::CloudWatch::Dashboard")
		if len(boards) != 1 {
			t.Fatalf("%s: %d dashboards", label, len(boards))
		}
		body := readable(boards[0].Properties["DashboardBody"])
		var board struct{ Widgets []object }
		if err := json.Unmarshal([]byte(body), &board); err != nil || len(board.Widgets) != 18 {
			t.Errorf("%s: %d widgets, error %v", label, len(board.Widgets), err)
		}
		metrics := 0
		for _, w := range board.Widgets {
			metrics += len(many(dig(w, "properties", "metrics")))
		}
		if metrics > freeMetrics {
			t.Errorf("%s: %d metrics, want at most %d", label, metrics, freeMetrics)
		}
		t.Logf("%s: %d metrics", label, metrics)
		for _, f := range tp.of("AWS::Lambda::Function") {
			if !strings.Contains(body, `"${`+name(f.id)+`}"`) {
				t.Errorf("%s: nothing of %s", label, f.id)
			}
		}
		for _, s := range tp.of("AWS::ApiGateway::Stage") {
			if !strings.Contains(body, `"Stage","`+s.Properties["StageName"].(string)+`"`) {
				t.Errorf("%s: nothing of stage %v", label, s.Properties["StageName"])
			}
		}
	}
}

func TestOutputs(t *testing.T) {
	const url = "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/"
	const command = "aws lambda invoke --region ${AWS::Region} --function-name ${AdminFunction} --cli-binary-format raw-in-base64-out" +
		` --payload '{"action":"create-account","accountId":"first"}' /dev/stdout`
	const redrive = "aws lambda update-event-source-mapping --region ${AWS::Region} --uuid ${UsageRedrive} --enabled"
	for label, c := range map[string]struct {
		tp   *template
		want map[string]string
	}{
		"defaults": {defaults(), map[string]string{
			"AlertTopicArn": "${AlertTopic}", "RedriveUsage": redrive,
			"ProductionUrl": url + "production", "StagingUrl": url + "staging", "DevelopmentUrl": url + "development", "CreateFirstAccount": command,
		}},
		"everything": {everything(), map[string]string{
			"AlertTopicArn": "${AlertTopic}", "RedriveUsage": redrive,
			"ProductionUrl": "https://api.example.com", "StagingUrl": url + "staging", "DevelopmentUrl": url + "development",
			"SharedUrl": "https://shared.example.com", "ProductionDomainTarget": "${ProductionDomain.RegionalDomainName}", "CreateFirstAccount": command,
		}},
	} {
		got := map[string]string{}
		for n, o := range c.tp.Outputs {
			got[n] = readable(o.Value)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", label, diff)
		}
	}
}

func TestDomains(t *testing.T) {
	tp := everything()
	for stage, c := range map[string]struct{ host, certificate string }{
		"production": {"api.example.com", "arn:aws:acm:eu-west-1:123456789012:certificate/a-1"},
		"shared":     {"shared.example.com", "arn:aws:acm:eu-west-1:123456789012:certificate/a-2"},
	} {
		want := object{
			"DomainName": c.host, "RegionalCertificateArn": c.certificate, "SecurityPolicy": "TLS_1_2",
			"EndpointConfiguration": object{"Types": []any{"REGIONAL"}},
		}
		if diff := cmp.Diff(want, tp.one(t, "AWS::ApiGateway::DomainName", title(stage)+"Domain").Properties); diff != "" {
			t.Errorf("%s (-want +got)\n%s", stage, diff)
		}
		m := tp.one(t, "AWS::ApiGateway::BasePathMapping", title(stage)+"Mapping").Properties
		at := tp.Resources[m["Stage"].(object)["Ref"].(string)]
		if m["BasePath"] != nil || readable(m["DomainName"]) != "${"+title(stage)+"Domain}" || at.Properties["StageName"] != stage {
			t.Errorf("%s: mapping %v", stage, m)
		}
	}
	records := tp.of("AWS::Route53::RecordSet")
	if len(records) != 2 {
		t.Errorf("%d DNS records, want A and AAAA of the one stage with a hosted zone", len(records))
	}
	for _, r := range records {
		if r.Properties["HostedZoneId"] != "Z0123456789" || r.Properties["Name"] != "shared.example.com" ||
			readable(dig(r.Properties, "AliasTarget", "DNSName")) != "${SharedDomain.RegionalDomainName}" {
			t.Errorf("record %v", r.Properties)
		}
	}
	if len(defaults().of("AWS::ApiGateway::DomainName")) != 0 {
		t.Error("a domain that nobody asked for")
	}
}

// `cdk diff` after `cdk deploy` shows nothing.
func TestTheSameContextMakesTheSameTemplate(t *testing.T) {
	if again := synth(t, `{}`); again.text != defaults().text {
		t.Error("two syntheses differ:\n" + cmp.Diff(defaults().text, again.text))
	}
}

// A deployment of API Gateway is a copy: what changes an answer must make a new one, and
// what does not must not.
func TestAChangeOfWhatTheAPIAnswersMakesANewDeployment(t *testing.T) {
	deployment := func(tp *template) string { return tp.of("AWS::ApiGateway::Deployment")[0].id }
	before := deployment(defaults())
	for context, want := range map[string]bool{
		`{"authorizerCacheSeconds": 5}`:                                                     true,
		`{"corsOrigins": ["https://a.example"]}`:                                            true,
		`{"routes": "` + noRoutes + `"}`:                                                    true,
		`{"logRetentionDays": 7, "throttle": {"staging": {"rate": 7}}, "retentionDays": 5}`: false,
	} {
		if got := deployment(synth(t, context)) != before; got != want {
			t.Errorf("%s: a new deployment %t, want %t", context, got, want)
		}
	}
}

// Every line that tells checkov to look away says why.
func TestEveryWaiverHasAReason(t *testing.T) {
	n := 0
	for _, r := range everything().Resources {
		for _, s := range many(dig(r.Metadata, "checkov", "skip")) {
			if s == nil {
				continue
			}
			n++
			if comment, _ := dig(s, "comment").(string); len(comment) < 20 {
				t.Errorf("%s: %v", r.id, s)
			}
		}
	}
	if n == 0 {
		t.Error("no waiver was found")
	}
}

func TestWhoDeploysWithTheirOwnCredentialsTakesNoRoleOfTheBootstrap(t *testing.T) {
	for _, c := range []struct {
		tp   *template
		want bool
	}{{defaults(), true}, {everything(), false}} {
		if got := strings.Contains(c.tp.manifest, "assumeRoleArn"); got != c.want {
			t.Errorf("a role of the bootstrap is taken: %t, want %t", got, c.want)
		}
	}
}
