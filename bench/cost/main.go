// Command cost prints what Keyreeve's part of an AWS bill comes to, with the arithmetic:
//
//	go run ./bench/cost
//	go run ./bench/cost -requests 25e6 -hits 0.95 -ms 6
//
// It counts what Keyreeve adds to an API (the authorizer, the guard's write, the logs), and
// API Gateway and the handler's Lambda beside it, which the API needs anyway. Prices are
// us-east-1's list prices without any free tier, as of November 2026; look yours up at
// aws.amazon.com/<service>/pricing. Not in it: data transfer, taxes, the handler's own work.
package main

import (
	"flag"
	"fmt"
)

// List prices in dollars.
const (
	apiGateway    = 3.50 / 1e6 // a REST request, of the first 333 million a month
	lambdaRequest = 0.20 / 1e6
	lambdaGBs     = 0.0000133334 // arm64, a GB-second
	writeUnit     = 0.625 / 1e6  // DynamoDB on demand: a write of up to 1 KB
	readUnit      = 0.125 / 1e6  // a consistent read of up to 4 KB
	logGB         = 0.50         // CloudWatch Logs, taken in
	secretMonth   = 0.40
	secretCall    = 0.05 / 10_000
	alarmMonth    = 0.10 // per metric that an alarm looks at
	metricMonth   = 0.30 // per metric that a filter makes of a log, if it had data at all
)

// What one request takes, by the code: see bench/calls_test.go for the calls.
const (
	guardWrites   = 1.0 // one conditional update
	verifyReads   = 1.0 // one consistent read, on an authorizer cache miss
	logLine       = 600 // bytes of an access-log line, with CloudWatch's overhead of 26
	lambdaLogLine = 350 // bytes of START, END and REPORT per invocation
	memoryGB      = 0.5
	idleAlarms    = 12 // metrics that the seven alarms look at
	logMetrics    = 2
	refresh       = 12 // fetches of the pepper ring by an hour of one busy process
)

func main() {
	requests := flag.Float64("requests", 0, "requests a month; 0: the table of the README")
	hits := flag.Float64("hits", 0.9, "share of requests that meet a cached policy")
	ms := flag.Float64("ms", 8, "billed milliseconds of an invocation: the authorizer's, and the guard's share of the handler's")
	processes := flag.Float64("processes", 0, "processes that are busy around the clock; 0: one per 2 million requests")
	flag.Parse()
	list := []float64{0, 1e6, 100e6}
	if *requests > 0 {
		list = []float64{*requests}
	}
	for _, n := range list {
		p := *processes
		if p == 0 {
			p = n / 2e6
		}
		bill(n, 1-*hits, *ms/1000, p)
	}
}

func bill(n, misses, seconds, processes float64) {
	var keyreeve, api float64
	line := func(total *float64, what, how string, dollars float64) {
		*total += dollars
		fmt.Printf("  %-34s %-58s %9.2f\n", what, how, dollars)
	}
	fmt.Printf("%.0f requests a month, %.0f %% of them authorizer cache misses\n", n, misses*100)
	line(&keyreeve, "pepper secret", "1 × $0.40", secretMonth)
	line(&keyreeve, "alarms", fmt.Sprintf("%d metrics × $0.10 + %d of log filters × $0.30", idleAlarms, logMetrics), idleAlarms*alarmMonth+boolean(n > 0)*logMetrics*metricMonth)
	if n > 0 {
		line(&keyreeve, "guard: one write a request", fmt.Sprintf("%.0f × $0.625/M", n), n*guardWrites*writeUnit)
		line(&keyreeve, "guard: Lambda time", fmt.Sprintf("%.0f × %.0f ms × %.1f GB", n, seconds*1000, memoryGB), n*seconds*memoryGB*lambdaGBs)
		line(&keyreeve, "authorizer: one read a miss", fmt.Sprintf("%.0f × $0.125/M", n*misses), n*misses*verifyReads*readUnit)
		line(&keyreeve, "authorizer: Lambda", fmt.Sprintf("%.0f × ($0.20/M + %.0f ms × %.1f GB)", n*misses, seconds*1000, memoryGB), n*misses*(lambdaRequest+seconds*memoryGB*lambdaGBs))
		line(&keyreeve, "pepper ring, fetched again", fmt.Sprintf("%.0f processes × 12 an hour × 730 h × $0.05/10,000", processes), processes*refresh*730*secretCall)
		logged := (n*logLine + n*(1+misses)*lambdaLogLine) / 1e9
		line(&keyreeve, "access and Lambda logs", fmt.Sprintf("%.1f GB × $0.50", logged), logged*logGB)
	}
	fmt.Printf("  %-93s %9.2f\n", "Keyreeve", keyreeve)
	if n > 0 {
		line(&api, "API Gateway", fmt.Sprintf("%.0f × $3.50/M", n), n*apiGateway)
		line(&api, "the handler's Lambda requests", fmt.Sprintf("%.0f × $0.20/M", n), n*lambdaRequest)
		fmt.Printf("  %-93s %9.2f\n", "with the API itself", keyreeve+api)
	}
	fmt.Println()
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
