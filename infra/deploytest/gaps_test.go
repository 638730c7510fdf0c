package deploytest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// gaps lists what the emulator cannot show, each as a skipped test. Where the gap itself
// can be seen, it must be there: a version of the emulator that has closed it must not go
// on being skipped.
func gaps(t *testing.T, w *world) {
	keys := aws.String(w.physicalID(t, "Keys"))
	for _, gap := range []struct {
		what, reason string
		closed       func(*testing.T) bool // nil: nothing tells
	}{
		{
			"TTL of tables", "the emulator leaves TimeToLiveSpecification out; make test-synth holds the template to it",
			func(t *testing.T) bool {
				out, err := w.dynamodb().DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: keys})
				if err != nil {
					t.Fatal(err)
				}
				return out.TimeToLiveDescription.TimeToLiveStatus == types.TimeToLiveStatusEnabled
			},
		},
		{
			"point-in-time recovery of tables", "the emulator leaves PointInTimeRecoverySpecification out; make test-synth holds the template to it",
			func(t *testing.T) bool {
				out, err := w.dynamodb().DescribeContinuousBackups(t.Context(), &dynamodb.DescribeContinuousBackupsInput{TableName: keys})
				if err != nil {
					t.Fatal(err)
				}
				recovery := out.ContinuousBackupsDescription.PointInTimeRecoveryDescription
				return recovery != nil && recovery.PointInTimeRecoveryStatus == types.PointInTimeRecoveryStatusEnabled
			},
		},
		{
			"access log", "the emulator writes none; make test-synth holds its format and has it read by who counts, infra/local writes such lines, and the flows above put them in the log",
			func(t *testing.T) bool {
				return slices.ContainsFunc(w.logged(t, w.physicalID(t, "AccessLog")), func(m string) bool { return !strings.Contains(m, accessLineID) })
			},
		},
		{
			"compressed answers", "the emulator leaves MinimumCompressionSize out; make test-synth holds the template to it, and infra/local compresses as API Gateway does",
			func(t *testing.T) bool {
				return w.call(t, "GET", "/openapi.json", http.Header{"Accept-Encoding": {"gzip"}}, "").header.Get("Content-Encoding") != ""
			},
		},
		{
			"flush of the authorizers' cache", "the emulator has no FlushStageAuthorizersCache",
			func(t *testing.T) bool {
				status, _, _ := w.ask(t, "", "apigateway", http.MethodDelete, "/restapis/"+w.physicalID(t, "Api")+"/stages/production/cache/authorizers", nil, "")
				return status < 300
			},
		},
		{
			"subscription to the logs of functions", "the emulator's filter patterns are words without JSON's fields, so nothing matches ours; make test-synth holds them, infra/local/logs filters by them, and the flows above hand the lines over themselves",
			func(t *testing.T) bool {
				k := w.create(t, canary)
				w.call(t, "GET", "/v1/customers", xAPIKey(k.key), "").must(t, "a canary", http.StatusUnauthorized, "unauthorized")
				time.Sleep(2 * time.Second) // a line of the access log is counted in less
				return w.used(t, k).Requests > 0
			},
		},
		{"retries of CloudWatch Logs and its batches", "the emulator tries once, with what one PutLogEvents brings; infra/local/logs repeats and joins", nil},
		{"the bus's retries and its queue for what the topic did not take", "the emulator tries once; make test-synth holds the rule to them", nil},
		{"a webhook that arrives", "receivers on this machine are refused, as they must be where customers name them; infra/local/e2e sends to some", nil},
		{"metrics of the functions' log lines, and what their alarms see", "the emulator makes none of the embedded metric format; a golden test holds the lines to its specification", nil},
		{"a batch of the stream that fails in part", "the emulator passes over batchItemFailures, so retries, bisection and the queue for what failed are not exercised; infra/local/stream repeats batches", nil},
		{"alarms that compute", "the emulator refuses alarms with metric math, so the template is deployed without those (fit); make test-synth has them", nil},
		{"TLS", "the emulator has none, so one queue is deployed without its policy that asks for it (fit); the flow above has the others refuse", nil},
		{"conditions of the functions' roles", "the emulator knows no dynamodb:LeadingKeys and dynamodb:Attributes; make test-synth holds the roles to them, literally", nil},
		{"conditions of the authorizer's policies", "the emulator evaluates neither their Action nor their Condition; pkg/policy's evaluator does", nil},
		{"$context.authorizer in gateway responses", "the emulator does not fill it in, and no response of ours has it", nil},
		{"Ref of a secret", "the emulator's is a name; the template is deployed with the attribute Id for it, which is the ARN there and on AWS (fit)", nil},
		{"arm64", "the emulator runs the functions on this machine, which is not one", nil},
		{"latency, throttles and limits of AWS", "an invocation takes the emulator 100 ms; bench measures what can be measured here", nil},
		{"promote-pepper after its ten minutes", "there is no time for it; its refusal before, and the ring that it writes, are tested above", nil},
		{"aws lambda invoke by the AWS CLI", "version 2 is in no package registry; a shell takes the command apart, and the test makes the call that it names", nil},
	} {
		t.Run(gap.what, func(t *testing.T) {
			if gap.closed != nil && gap.closed(t) {
				t.Fatal("the emulator can show this now: test it")
			}
			t.Skip("SKIPPED: " + gap.reason)
		})
	}
}
