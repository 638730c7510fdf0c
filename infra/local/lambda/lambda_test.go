package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	awslambda "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/lambda"
)

// The test binary is its own bootstrap: with BEHAVIOUR set it is a function's process.
func TestMain(m *testing.M) {
	switch os.Getenv("BEHAVIOUR") {
	case "":
		os.Exit(m.Run())
	case "function":
		awslambda.Start(function)
	case "exits at init":
		fmt.Fprintln(os.Stderr, "cannot start: no table")
		os.Exit(7)
	case "reports an init error":
		post("/runtime/init/error", `{"errorType":"Config.Missing","errorMessage":"KEYS_TABLE is not set"}`)
		os.Exit(1)
	case "hangs at init":
		time.Sleep(time.Hour)
	case "parent":
		parent()
	}
}

type order struct {
	Do    string
	Sleep string
	Bytes int
	Text  string
}

// function is a handler that does as its event says.
func function(ctx context.Context, o order) (any, error) {
	switch o.Do {
	case "echo":
		return o.Text, nil
	case "sleep":
		d, err := time.ParseDuration(o.Sleep)
		if err != nil {
			return nil, err
		}
		time.Sleep(d)
		return "slept", nil
	case "hang":
		time.Sleep(time.Hour)
		return nil, nil
	case "die":
		os.Exit(3)
	case "panic":
		panic("on purpose")
	case "fail":
		return nil, errors.New("Unauthorized") //nolint:staticcheck // the text that API Gateway looks for
	case "big":
		return strings.Repeat("x", o.Bytes), nil
	case "print":
		fmt.Fprint(os.Stderr, "one\ntwo\n")
		return nil, nil
	case "print lines":
		for i := range o.Bytes {
			fmt.Fprintf(os.Stderr, "%s %d\n", o.Text, i)
		}
		return nil, nil
	case "print half a line":
		fmt.Fprint(os.Stderr, o.Text)
		return nil, nil
	case "pid":
		return os.Getpid(), nil
	case "environ":
		return os.Environ(), nil
	case "context":
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "left": time.Until(deadline).Seconds()}, nil
	case "next again":
		res, err := http.Get("http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/next")
		if err != nil {
			return nil, err
		}
		_ = res.Body.Close()
		return res.StatusCode, nil
	case "answer, then hang":
		// What it returns later finds the invocation answered.
		post("/runtime/invocation/"+requestID(ctx)+"/response", `"answered"`)
		time.Sleep(time.Hour)
		return nil, nil
	case "answer another":
		return post("/runtime/invocation/not-mine/response", `"stolen"`), nil
	}
	return nil, errors.New("no such order")
}

func requestID(ctx context.Context) string {
	lc, _ := lambdacontext.FromContext(ctx)
	return lc.AwsRequestID
}

func post(path, body string) int {
	res, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01"+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// log collects what processes write.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func start(t *testing.T, o lambda.Options, behaviour string, functions ...lambda.Function) *lambda.Runtime {
	t.Helper()
	var err error
	if o.Bootstrap, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	for i := range functions {
		if functions[i].Env == nil {
			functions[i].Env = map[string]string{}
		}
		functions[i].Env["BEHAVIOUR"] = behaviour
	}
	o.Functions = functions
	r, err := lambda.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func invoke(t *testing.T, r *lambda.Runtime, o order) (any, error) {
	t.Helper()
	payload, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Invoke(t.Context(), "f", payload)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("answer %q: %v", out, err)
	}
	return v, nil
}

func mustInvoke(t *testing.T, r *lambda.Runtime, o order) any {
	t.Helper()
	v, err := invoke(t, r, o)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return v
}

func wantFunctionError(t *testing.T, err error, kind, message string) {
	t.Helper()
	var fe *lambda.FunctionError
	if !errors.As(err, &fe) || fe.Type != kind || !strings.Contains(fe.Message, message) {
		t.Errorf("error %v, want type %q with %q in its message", err, kind, message)
	}
}

func TestAnAnswerComesBackFromTheProcess(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := mustInvoke(t, r, order{Do: "echo", Text: "hällo"}); got != "hällo" {
		t.Errorf("got %q", got)
	}
}

func TestAFunctionsErrorKeepsTypeAndText(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	_, err := invoke(t, r, order{Do: "fail"})
	want := &lambda.FunctionError{Type: "errorString", Message: "Unauthorized"}
	var got *lambda.FunctionError
	if !errors.As(err, &got) || !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestTheSameProcessServesOneAfterTheOther(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	first := mustInvoke(t, r, order{Do: "pid"})
	for range 30 {
		if got := mustInvoke(t, r, order{Do: "pid"}); got != first {
			t.Fatalf("pid %v after %v: a new process without need", got, first)
		}
	}
	if _, err := invoke(t, r, order{Do: "fail"}); err == nil {
		t.Fatal("no error")
	}
	if got := mustInvoke(t, r, order{Do: "pid"}); got != first {
		t.Errorf("pid %v after a failed invocation, was %v: a function's error does not end its process", got, first)
	}
}

func TestDeathCostsOneInvocation(t *testing.T) {
	for _, tt := range []struct{ do, kind, message string }{
		{"die", lambda.TypeExited, "Runtime exited with error: exit status 3"},
		{"panic", "string", "on purpose"},
	} {
		t.Run(tt.do, func(t *testing.T) {
			r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
			before := mustInvoke(t, r, order{Do: "pid"})
			_, err := invoke(t, r, order{Do: tt.do})
			wantFunctionError(t, err, tt.kind, tt.message)
			if after := mustInvoke(t, r, order{Do: "pid"}); after == before {
				t.Errorf("pid %v still answers after it %ss", after, tt.do)
			}
		})
	}
}

func TestAProcessKilledWhileIdleIsReplaced(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	pid := int(mustInvoke(t, r, order{Do: "pid"}).(float64))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	if got := int(mustInvoke(t, r, order{Do: "pid"}).(float64)); got == pid {
		t.Errorf("pid %d answered after its death", got)
	}
}

func TestAHungProcessIsKilledAtItsTimeout(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", Timeout: 500 * time.Millisecond})
	pid := int(mustInvoke(t, r, order{Do: "pid"}).(float64))
	begun := time.Now()
	_, err := invoke(t, r, order{Do: "hang"})
	wantFunctionError(t, err, lambda.TypeTimedOut, "Task timed out after 0.50 seconds")
	if took := time.Since(begun); took < 450*time.Millisecond || took > 5*time.Second {
		t.Errorf("gave up after %v, want about 500ms", took)
	}
	if got := mustInvoke(t, r, order{Do: "echo", Text: "back"}); got != "back" {
		t.Errorf("got %v", got)
	}
	waitGone(t, pid)
}

func TestAProcessThatHangsAfterItsAnswerIsReplaced(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", Timeout: 500 * time.Millisecond, MaxProcesses: 1})
	if got := mustInvoke(t, r, order{Do: "answer, then hang"}); got != "answered" {
		t.Errorf("got %v", got)
	}
	if got := mustInvoke(t, r, order{Do: "echo", Text: "back"}); got != "back" {
		t.Errorf("got %v", got)
	}
}

func TestACallerThatLeavesDoesNotStopTheFunction(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", MaxProcesses: 1})
	pid := mustInvoke(t, r, order{Do: "pid"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Invoke(ctx, "f", []byte(`{"Do":"sleep","Sleep":"600ms"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want the context's", err)
	}
	if got := mustInvoke(t, r, order{Do: "pid"}); got != pid {
		t.Errorf("pid %v, want %v: the process lives on and takes the next invocation", got, pid)
	}
}

func TestThePoolGrowsUpToItsCap(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", MaxProcesses: 3})
	if got := len(r.PIDs("f")); got != 0 {
		t.Fatalf("%d processes before Start", got)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(r.PIDs("f")); got != 1 {
		t.Fatalf("%d processes after Start, want 1", got)
	}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { mustInvoke(t, r, order{Do: "sleep", Sleep: "100ms"}) })
	}
	wg.Wait()
	if got := len(r.PIDs("f")); got != 3 {
		t.Errorf("%d processes after twelve at once, want the cap of 3", got)
	}
}

func TestInitFailuresReachTheCaller(t *testing.T) {
	for _, tt := range []struct{ behaviour, kind, message string }{
		{"exits at init", lambda.TypeExited, "exit status 7 before it asked"},
		{"reports an init error", "Config.Missing", "KEYS_TABLE is not set"},
		{"hangs at init", lambda.TypeTimedOut, "INIT timed out after 0.30 seconds"},
	} {
		t.Run(tt.behaviour, func(t *testing.T) {
			opts := lambda.Options{Log: &log{}}
			if tt.behaviour == "hangs at init" {
				opts.InitTimeout = 300 * time.Millisecond
			}
			r := start(t, opts, tt.behaviour, lambda.Function{Name: "f"})
			wantFunctionError(t, r.Start(t.Context()), tt.kind, tt.message)
			for range 2 { // it is tried again for each invocation, and not in between
				_, err := invoke(t, r, order{Do: "echo"})
				wantFunctionError(t, err, tt.kind, tt.message)
			}
			if got := r.PIDs("f"); len(got) != 0 {
				t.Errorf("processes %v are left", got)
			}
		})
	}
}

func TestAMissingBootstrapIsAClearError(t *testing.T) {
	r, err := lambda.New(lambda.Options{Bootstrap: "/nowhere/bootstrap", Functions: []lambda.Function{{Name: "f"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") || !strings.Contains(err.Error(), "function f") {
		t.Errorf("error %v, want one that names the function and the reason", err)
	}
}

func TestPayloadLimits(t *testing.T) {
	r := start(t, lambda.Options{Log: &log{}}, "function", lambda.Function{Name: "f"})
	const limit = 6 << 20
	frame := len(`{"Do":"echo","Sleep":"","Bytes":0,"Text":""}`)
	if got := mustInvoke(t, r, order{Do: "echo", Text: strings.Repeat("y", limit-frame)}); len(got.(string)) != limit-frame {
		t.Errorf("echoed %d bytes, want %d", len(got.(string)), limit-frame)
	}
	if _, err := invoke(t, r, order{Do: "echo", Text: strings.Repeat("y", limit-frame+1)}); !errors.Is(err, lambda.ErrRequestTooLarge) {
		t.Errorf("one byte more: %v, want ErrRequestTooLarge", err)
	}
	const answer = limit + 100 - len(`""`)
	if got := mustInvoke(t, r, order{Do: "big", Bytes: answer}); len(got.(string)) != answer {
		t.Errorf("answer of %d bytes, want %d", len(got.(string)), answer)
	}
	_, err := invoke(t, r, order{Do: "big", Bytes: answer + 1})
	wantFunctionError(t, err, lambda.TypeResponseTooLarge, "6291556 bytes")
	if got := mustInvoke(t, r, order{Do: "echo", Text: "on"}); got != "on" {
		t.Errorf("got %v", got)
	}
}

func TestAProcessSeesLambdasVariablesAndItsOwnAlone(t *testing.T) {
	t.Setenv("KEYREEVE_TEST_SECRET", "of the parent")
	r := start(t, lambda.Options{Region: "eu-west-1", AccessKeyID: "LOCAL123"}, "function",
		lambda.Function{Name: "f", MemoryMB: 256, Env: map[string]string{"KEYS_TABLE": "keys"}})
	got := map[string]string{}
	for _, kv := range mustInvoke(t, r, order{Do: "environ"}).([]any) {
		name, value, _ := strings.Cut(kv.(string), "=")
		got[name] = value
	}
	if _, port, err := net.SplitHostPort(got["AWS_LAMBDA_RUNTIME_API"]); err != nil || port == "" {
		t.Errorf("AWS_LAMBDA_RUNTIME_API = %q", got["AWS_LAMBDA_RUNTIME_API"])
	}
	for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_X_AMZN_TRACE_ID"} {
		delete(got, name)
	}
	want := map[string]string{
		"_HANDLER": "f", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
		"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f", "AWS_LAMBDA_LOG_STREAM_NAME": "local",
		"AWS_ACCESS_KEY_ID": "LOCAL123", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local",
		"LANG": "en_US.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin", "TZ": ":UTC",
		"KEYS_TABLE": "keys", "BEHAVIOUR": "function",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("environment (-want +got):\n%s", d)
	}
}

func TestAnInvocationKnowsItsDeadlineAndName(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", Timeout: 7 * time.Second})
	got := mustInvoke(t, r, order{Do: "context"}).(map[string]any)
	if left := got["left"].(float64); left < 5 || left > 7 {
		t.Errorf("%.2f s left of 7", left)
	}
	if got["arn"] != "arn:aws:lambda:us-east-1:000000000000:function:f" {
		t.Errorf("arn %v", got["arn"])
	}
	if again := mustInvoke(t, r, order{Do: "context"}).(map[string]any); again["id"] == got["id"] || len(got["id"].(string)) != 36 {
		t.Errorf("request ids %v and %v, want two UUIDs", got["id"], again["id"])
	}
}

func TestTheRuntimeAPIRefusesWhatIsOutOfTurn(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	if got := mustInvoke(t, r, order{Do: "next again"}); got != 403.0 {
		t.Errorf("/next during an invocation: %v, want 403", got)
	}
	if got := mustInvoke(t, r, order{Do: "answer another"}); got != 400.0 {
		t.Errorf("/response for a foreign id: %v, want 400", got)
	}
}

func TestLinesCarryTheirFunctionsName(t *testing.T) {
	var l log
	r := start(t, lambda.Options{Log: &l}, "function", lambda.Function{Name: "f"})
	mustInvoke(t, r, order{Do: "print"})
	_ = r.Close()
	if got, want := l.String(), "[f] one\n[f] two\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// Who has an answer finds what the function wrote before it, and no more than that: a
// line whose end has not come waits for it, whatever was answered in between.
func TestLinesAreThereWhenTheAnswerIs(t *testing.T) {
	var mu sync.Mutex
	var got []string
	l := &log{}
	r := start(t, lambda.Options{Log: l, OnLine: func(function, line string) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, function+": "+line)
		return !strings.Contains(line, "hidden")
	}}, "function", lambda.Function{Name: "f", MaxProcesses: 1})
	take := func() []string {
		mu.Lock()
		defer mu.Unlock()
		taken := got
		got = nil
		return taken
	}
	for i, n := range []int{1, 0, 3, 2000, 1, 7} { // 2,000 of them are more than a pipe holds
		mustInvoke(t, r, order{Do: "print lines", Text: strconv.Itoa(i), Bytes: n})
		var want []string
		for line := range n {
			want = append(want, fmt.Sprintf("f: %d %d", i, line))
		}
		if d := cmp.Diff(want, take()); d != "" {
			t.Fatalf("after answer %d (-want +got):\n%s", i, d)
		}
	}
	if _, err := invoke(t, r, order{Do: "print half a line", Text: "one\nhid"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"f: one"}, take()); d != "" {
		t.Errorf("after half a line (-want +got):\n%s", d)
	}
	mustInvoke(t, r, order{Do: "print half a line", Text: "den\n"})
	if d := cmp.Diff([]string{"f: hidden"}, take()); d != "" {
		t.Errorf("after its other half (-want +got):\n%s", d)
	}
	// A function that fails has written, too; one that dies has written all that it will.
	if _, err := invoke(t, r, order{Do: "panic"}); err == nil || !strings.Contains(strings.Join(take(), "\n"), "on purpose") {
		t.Errorf("after a panic: %v, and no line of it", err)
	}
	if text := l.String(); strings.Contains(text, "hidden") || !strings.Contains(text, "[f] one\n") {
		t.Error("the log has a line that it should not have, or lacks one")
	}
}

func TestUnknownFunctionsAndAClosedRuntimeAreErrors(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f"})
	if _, err := r.Invoke(t.Context(), "g", nil); !errors.Is(err, lambda.ErrNoFunction) {
		t.Errorf("function g: %v", err)
	}
	_ = r.Close()
	if _, err := invoke(t, r, order{Do: "echo"}); !errors.Is(err, lambda.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := r.Start(t.Context()); !errors.Is(err, lambda.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

func TestCloseLeavesNoProcessAndEndsWhatIsUnderWay(t *testing.T) {
	r := start(t, lambda.Options{}, "function", lambda.Function{Name: "f", MaxProcesses: 2})
	mustInvoke(t, r, order{Do: "pid"})
	errs := make(chan error, 3)
	for range 3 { // two at work, one waiting
		go func() {
			_, err := r.Invoke(context.Background(), "f", []byte(`{"Do":"hang"}`))
			errs <- err
		}()
	}
	waitUntil(t, "two processes", func() bool { return len(r.PIDs("f")) == 2 })
	pids := r.PIDs("f")
	_ = r.Close()
	for range 3 {
		select {
		case err := <-errs:
			if err == nil {
				t.Error("an invocation succeeded after Close")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("an invocation outlived Close")
		}
	}
	for _, pid := range pids {
		waitGone(t, pid)
	}
}

// TestProcessesDieWithTheirParent kills a program that runs a Runtime, as `kill -9` of
// the local gateway would.
func TestProcessesDieWithTheirParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BEHAVIOUR=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitGone(t, child)
}

// parent runs one process, prints its id and waits to be killed.
func parent() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	// Its process hangs in an invocation: only the system can end it.
	r, err := lambda.New(lambda.Options{Bootstrap: self, Functions: []lambda.Function{{
		Name: "f", Env: map[string]string{"BEHAVIOUR": "function"}, Timeout: time.Hour,
	}}})
	if err != nil {
		panic(err)
	}
	if err := r.Start(context.Background()); err != nil {
		panic(err)
	}
	go func() { _, _ = r.Invoke(context.Background(), "f", []byte(`{"Do":"hang"}`)) }()
	time.Sleep(200 * time.Millisecond)
	// Threads come and go: without one that stays, Pdeathsig would fire by itself here.
	for range 50 {
		go runtime.LockOSThread()
	}
	time.Sleep(200 * time.Millisecond)
	fmt.Println(r.PIDs("f")[0])
	time.Sleep(time.Hour)
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("process %d gone", pid), func() bool {
		// A process whose parent has not read its status yet is as good as gone.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil {
			return strings.Contains(string(stat), ") Z ")
		}
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not seen in 5 s: %s", what)
}
