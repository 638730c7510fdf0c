// Command cost prints what Keyreeve's part of an AWS bill comes to, with the arithmetic:
//
//	go run ./bench/cost
//	go run ./bench/cost -requests 25e6 -hits 0.95 -ms 6 -lines 20
//
// It counts what Keyreeve adds to an API (the authorizer, the guard's write, the logs and
// the counting of what they say), and API Gateway and the handler's Lambda beside it, which
// the API needs anyway. Prices are us-east-1's list prices without any free tier, as of
// November 2026; look yours up at aws.amazon.com/<service>/pricing. One thing is taken as
// free: the dashboard, which is so among the first three of an account (3.00 a month
// otherwise). Not in it: data transfer, taxes, the handler's own work.
package main

import (
	"flag"
	"fmt"
)

// List prices in dollars, by the page that has them.
const (
	// api-gateway
	apiGateway = 3.50 / 1e6 // a REST request, of the first 333 million a month
	// lambda
	lambdaRequest = 0.20 / 1e6
	lambdaGBs     = 0.0000133334 // arm64, a GB-second
	// dynamodb/on-demand; what Lambda reads of a stream is free
	writeUnit = 0.625 / 1e6 // a write of up to 1 KB; in a transaction it is two
	readUnit  = 0.125 / 1e6 // a consistent read of up to 4 KB; any other is half a one
	tableGB   = 0.25        // a month
	backupGB  = 0.20        // a month, for point-in-time recovery
	// secrets-manager
	secretMonth = 0.40
	secretCall  = 0.05 / 10_000
	// cloudwatch; handing lines to a subscriber is free
	logGB       = 0.50 // of logs, taken in
	alarmMonth  = 0.10 // per metric that an alarm looks at
	metricMonth = 0.30 // per metric of one's own, for the hours in which it has a value
	// eventbridge; schedules are free
	eventPut = 1.00 / 1e6
	// sns; an e-mail is 2.00 per 100,000 besides
	publish = 0.50 / 1e6
)

// What one request takes, by the code: see bench/calls_test.go for the calls of the guard
// and the authorizer, and usage_test.go for those of counting, where they are measured.
const (
	guardWrites   = 1.0 // one conditional update
	verifyReads   = 1.0 // one consistent read, on an authorizer cache miss
	logLine       = 760 // bytes of an access-log line, with CloudWatch's overhead of 26
	lambdaLogLine = 350 // bytes of START, END and REPORT per invocation
	memoryGB      = 0.5
	refresh       = 12 // fetches of the pepper ring by an hour of one busy process

	rowWrites   = 1.0 // of the request log, per request
	countWrites = 7.0 // per key and batch of lines: the mark, the day's counts and the totals in a transaction, and the profile
	countReads  = 1.0 // per key and batch: the profile
	rowBytes    = 480 // of a row with its keys, and DynamoDB's overhead of 100
	metricLine  = 500 // bytes of the line with a batch's metrics
)

// What there is although nobody calls.
const (
	alarmMetrics = 24 // that the 19 alarms look at
	turns        = 730 * 60
	turnSeconds  = 0.010 // of the notify function, each minute, at
	turnGB       = 0.25
	turnReads    = 0.5 // a query that finds nothing
	sweeps       = 730
	keyReads     = 3.0 // of a sweep, for each key: its items, its meter, profile and totals
)

// Metrics of one's own that have values in each hour in which requests come: two that
// filters make of the access log, if they match at all, and two that each batch writes;
// the others only where something is wrong.
const (
	filterMetrics = 2
	batchMetrics  = 2
)

type load struct {
	requests  float64 // a month
	misses    float64 // share of them that meet no cached policy
	seconds   float64 // billed, of an invocation
	processes float64
	lines     float64 // of one key in a batch
	alerts    float64 // a month
	keys      float64
}

func main() {
	requests := flag.Float64("requests", 0, "requests a month; 0: the table of the README")
	hits := flag.Float64("hits", 0.9, "share of requests that meet a cached policy")
	ms := flag.Float64("ms", 8, "billed milliseconds of an invocation: the authorizer's, and the guard's share of the handler's")
	processes := flag.Float64("processes", 0, "processes that are busy around the clock; 0: one per 2 million requests")
	lines := flag.Float64("lines", 0, "log lines of one key that come in one batch; 0: 1, the dearest, and 20")
	alerts := flag.Float64("alerts", 1000, "alerts a month, if there are requests")
	keys := flag.Float64("keys", 100, "keys that there are")
	flag.Parse()
	list := []float64{0, 1e6, 100e6}
	if *requests > 0 {
		list = []float64{*requests}
	}
	for _, n := range list {
		l := load{requests: n, misses: 1 - *hits, seconds: *ms / 1000, processes: *processes, alerts: *alerts, keys: *keys}
		if l.processes == 0 {
			l.processes = n / 2e6
		}
		for _, together := range []float64{1, 20} {
			if l.lines = together; *lines > 0 {
				l.lines = *lines
			}
			l.bill()
			if n == 0 || *lines > 0 {
				break
			}
		}
	}
}

// sum adds up what it prints.
type sum float64

func (s *sum) line(what, how string, dollars float64) {
	*s += sum(dollars)
	fmt.Printf("  %-34s %-64s %9.2f\n", what, how, dollars)
}

func total(what string, dollars sum) { fmt.Printf("  %-99s %9.2f\n", what, dollars) }

func (l load) bill() {
	n := l.requests
	var keyreeve, api sum
	if n == 0 {
		fmt.Println("nobody calls")
	} else {
		fmt.Printf("%.0f requests a month, %.0f %% of them authorizer cache misses, %.0f log lines of a key in a batch\n", n, l.misses*100, l.lines)
	}
	keyreeve.standing(l)
	if n > 0 {
		keyreeve.requests(l)
		keyreeve.counting(l)
	}
	total("Keyreeve", keyreeve)
	if n > 0 {
		api.line("API Gateway", fmt.Sprintf("%.0f × $3.50/M", n), n*apiGateway)
		api.line("the handler's Lambda requests", fmt.Sprintf("%.0f × $0.20/M", n), n*lambdaRequest)
		total("with the API itself", keyreeve+api)
	}
	fmt.Println()
}

// standing is what there is although nobody calls.
func (s *sum) standing(l load) {
	s.line("pepper secret", "1 × $0.40", secretMonth)
	s.line("alarms", fmt.Sprintf("%d metrics × $0.10", alarmMetrics), alarmMetrics*alarmMonth)
	s.line("schedules: Lambda and its logs", fmt.Sprintf("%d turns × ($0.20/M + %.0f ms × %.2f GB + %d B × $0.50/GB)", turns+sweeps, turnSeconds*1000, turnGB, lambdaLogLine),
		(turns+sweeps)*(lambdaRequest+turnSeconds*turnGB*lambdaGBs+lambdaLogLine*logGB/1e9))
	s.line("schedules: webhooks that are due", fmt.Sprintf("%d × %.1f reads × $0.125/M", turns, turnReads), turns*turnReads*readUnit)
	s.line("schedules: the keys as they are", fmt.Sprintf("%d × %.0f keys × %.1f reads × $0.125/M", sweeps, l.keys, keyReads), sweeps*l.keys*keyReads*readUnit)
}

// requests is what requests wait for, and the logs that they leave.
func (s *sum) requests(l load) {
	n := l.requests
	s.line("guard: one write a request", fmt.Sprintf("%.0f × $0.625/M", n), n*guardWrites*writeUnit)
	s.line("guard: Lambda time", fmt.Sprintf("%.0f × %.0f ms × %.1f GB", n, l.seconds*1000, memoryGB), n*l.seconds*memoryGB*lambdaGBs)
	s.line("authorizer: one read a miss", fmt.Sprintf("%.0f × $0.125/M", n*l.misses), n*l.misses*verifyReads*readUnit)
	s.line("authorizer: Lambda", fmt.Sprintf("%.0f × ($0.20/M + %.0f ms × %.1f GB)", n*l.misses, l.seconds*1000, memoryGB), n*l.misses*(lambdaRequest+l.seconds*memoryGB*lambdaGBs))
	s.line("pepper ring, fetched again", fmt.Sprintf("%.0f processes × 12 an hour × 730 h × $0.05/10,000", l.processes), l.processes*refresh*730*secretCall)
	logged := (n*logLine + n*(1+l.misses)*lambdaLogLine) / 1e9
	s.line("access and Lambda logs", fmt.Sprintf("%.1f GB × $0.50", logged), logged*logGB)
}

// counting is what becomes of the access log's lines.
func (s *sum) counting(l load) {
	n, batches := l.requests, l.requests/l.lines // of a key: a batch may hold several keys' lines
	s.line("usage: the request log", fmt.Sprintf("%.0f × $0.625/M", n), n*rowWrites*writeUnit)
	s.line("usage: counts", fmt.Sprintf("%.0f × (%.0f × $0.625/M + %.0f × $0.125/M)", batches, countWrites, countReads), batches*(countWrites*writeUnit+countReads*readUnit))
	duration := 0.020 + 0.001*l.lines // an assumption: rows are put many at a time, a few milliseconds each
	s.line("usage: Lambda and its logs", fmt.Sprintf("%.0f × ($0.20/M + %.0f ms × %.1f GB + %d B × $0.50/GB)", batches, duration*1000, memoryGB, lambdaLogLine+metricLine),
		batches*(lambdaRequest+duration*memoryGB*lambdaGBs+(lambdaLogLine+metricLine)*logGB/1e9))
	gb := n * rowBytes / 1e9 // rows last a month
	s.line("usage: the request log, kept", fmt.Sprintf("%.1f GB × ($0.25 + $0.20)", gb), gb*(tableGB+backupGB))
	s.line("metrics", fmt.Sprintf("%d × $0.30", filterMetrics+batchMetrics), (filterMetrics+batchMetrics)*metricMonth)
	s.line("alerts", fmt.Sprintf("%.0f × ($1.00/M + $0.50/M + 4 × $0.625/M)", l.alerts), l.alerts*(eventPut+publish+4*writeUnit))
}
