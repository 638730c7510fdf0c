package ddb

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// helperVariable makes this test binary play another program: TestMain.
const helperVariable = "DDB_TEST_HELPER"

func TestMain(m *testing.M) {
	_, given = os.LookupEnv(EndpointVariable)
	if err := os.Unsetenv(EndpointVariable); err != nil {
		panic(err)
	}
	switch os.Getenv(helperVariable) {
	case "":
		os.Exit(m.Run())
	case "start": // a program that starts a server, says where, and never stops it
		s, err := Start(context.Background(), Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.Endpoint)
		select {}
	case "leash": // a program that holds a sleep by the leash, and never lets go
		cmd := exec.Command("sleep", "600")
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			os.Exit(1)
		}
		if _, err := newLeash(cmd.Process.Pid); err != nil {
			os.Exit(1)
		}
		fmt.Println("ready")
		select {}
	}
}

// given says that the tests' environment names a server, which the tests here must not
// use in place of one that they start and stop.
var given bool

// client of a server, as the functions make theirs.
func client(s *Server) *dynamodb.Client {
	return dynamo.NewClient(config.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: s.Endpoint, StoreTimeout: 20 * time.Second,
	})
}

func mustStart(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil && given {
		t.Skipf("SKIPPED: this machine uses %s and cannot start a server itself: %v", EndpointVariable, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func TestTablesAreAsInAWSAndMakingThemTwiceIsNoError(t *testing.T) {
	c := client(mustStart(t, Options{}))
	names := Tables{Keys: "keys", Meters: "meters", Sample: "sample", Usage: "usage", Alerts: "alerts"}
	for range 2 {
		if err := CreateTables(t.Context(), c, names); err != nil {
			t.Fatal(err)
		}
	}
	type table struct {
		Keys    []string
		Stream  types.StreamViewType
		Billing types.BillingMode
		TTL     string
	}
	got := map[string]table{}
	for _, name := range []string{"keys", "meters", "sample", "usage", "alerts"} {
		d, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
		if err != nil {
			t.Fatal(err)
		}
		row := table{Billing: d.Table.BillingModeSummary.BillingMode}
		for _, k := range d.Table.KeySchema {
			row.Keys = append(row.Keys, *k.AttributeName)
		}
		if s := d.Table.StreamSpecification; s != nil {
			row.Stream = s.StreamViewType
		}
		ttl, err := c.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &name})
		if err != nil {
			t.Fatal(err)
		}
		row.TTL = aws.ToString(ttl.TimeToLiveDescription.AttributeName)
		got[name] = row
	}
	want := map[string]table{
		"keys":   {Keys: []string{"pk", "sk"}, Stream: "NEW_AND_OLD_IMAGES", Billing: "PAY_PER_REQUEST", TTL: "ttl"},
		"meters": {Keys: []string{"id"}, Billing: "PAY_PER_REQUEST"},
		"sample": {Keys: []string{"pk", "sk"}, Billing: "PAY_PER_REQUEST", TTL: "ttl"},
		"usage":  {Keys: []string{"pk", "sk"}, Billing: "PAY_PER_REQUEST", TTL: "ttl"},
		"alerts": {Keys: []string{"pk", "sk"}, Stream: "NEW_IMAGE", Billing: "PAY_PER_REQUEST", TTL: "ttl"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables differ (-want +got):\n%s", diff)
	}
}

func TestStopLeavesNothingListening(t *testing.T) {
	s := mustStart(t, Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	default:
		t.Error("Stop returned before the process had ended")
	}
	if !refuses(s.Endpoint) {
		t.Errorf("%s still answers after Stop", s.Endpoint)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestDataSurvivesARestartAndEvenAKill(t *testing.T) {
	o := Options{DataDir: t.TempDir()}
	s := mustStart(t, o)
	if err := CreateTables(t.Context(), client(s), Tables{Sample: "sample"}); err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		t.Helper()
		_, err := client(s).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("sample"), Item: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: id}, "sk": &types.AttributeValueMemberS{Value: id},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() int32 {
		t.Helper()
		out, err := client(s).Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("sample")})
		if err != nil {
			t.Fatal(err)
		}
		return out.Count
	}
	put("first")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = mustStart(t, o)
	if got := count(); got != 1 {
		t.Fatalf("after a restart there are %d items, want 1", got)
	}
	put("second")
	if err := syscall.Kill(-s.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Stop(); err != nil {
		t.Errorf("Stop of a server that has died: %v", err)
	}
	s = mustStart(t, o)
	if got := count(); got != 2 {
		t.Fatalf("after a kill there are %d items, want 2", got)
	}
}

func TestOneDataDirectoryServesOneServer(t *testing.T) {
	o := Options{DataDir: t.TempDir()}
	s := mustStart(t, o)
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second Start on the same data = %v, want an error that says it is in use", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	mustStart(t, o)
}

func TestServerDiesWithAParentThatIsKilled(t *testing.T) {
	lines, kill := helper(t, "start")
	endpoint := lines.Text()
	if refuses(endpoint) {
		t.Fatalf("the server of the helper does not answer at %s", endpoint)
	}
	kill()
	eventually(t, "the server is gone", func() bool { return refuses(endpoint) })
}

func TestLeashKillsTheChildOfAParentThatIsKilled(t *testing.T) {
	lines, kill := helper(t, "leash")
	gone := make(chan bool)
	go func() { // the child shares the helper's output, which ends with the last of the two
		gone <- !lines.Scan()
	}()
	select {
	case <-gone:
		t.Fatal("the child ended before its parent")
	case <-time.After(100 * time.Millisecond):
	}
	kill()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the child outlives its parent")
	}
}

func TestLeashLetGoKillsNobody(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	l, err := newLeash(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Errorf("the child died when the leash was let go: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
}

func TestAnEndpointThatRunsAlreadyIsUsedAndLeftAlone(t *testing.T) {
	s := mustStart(t, Options{})
	t.Setenv(EndpointVariable, s.Endpoint)
	used, err := Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "never made")})
	if err != nil {
		t.Fatal(err)
	}
	if used.Endpoint != s.Endpoint {
		t.Errorf("Endpoint = %s, want %s", used.Endpoint, s.Endpoint)
	}
	if err := used.Stop(); err != nil || refuses(s.Endpoint) {
		t.Errorf("Stop ended a server that it had not started (%v)", err)
	}
}

func TestAnEndpointThatDoesNotAnswerIsNamed(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	t.Setenv(EndpointVariable, endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, Options{})
	if err == nil || !strings.Contains(err.Error(), EndpointVariable) || !strings.Contains(err.Error(), endpoint) {
		t.Errorf("Start = %v, want an error that names %s and %s", err, EndpointVariable, endpoint)
	}
}

func TestAServerThatDiesAtOnceIsReportedWithWhatItSaid(t *testing.T) {
	run := func(int) (*process, error) { return spawn(exec.Command("/bin/sh", "-c", "echo no such luck; exit 3")) }
	_, err := start(t.Context(), run)
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !errors.Is(err, errEnded) {
		t.Errorf("start = %v, want errEnded with the output", err)
	}
}

// A port that somebody else took answers the probe, but not for our server.
func TestAnAnswerFromAnotherServerIsNotTakenForOurs(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() { _ = http.Serve(other, http.NotFoundHandler()) }()
	ended := make(chan struct{})
	close(ended)
	if err := ready(t.Context(), "http://"+other.Addr().String(), ended); !errors.Is(err, errEnded) {
		t.Errorf("ready = %v, want errEnded", err)
	}
}

// stubs returns a PATH with only these programs, shell scripts by name, and sh's own
// tools linked.
func stubs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range []string{"sleep", "mkdir", "cat", "chmod"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("JAVA_HOME", "")
}

const (
	java17 = `echo 'openjdk version "17.0.9" 2023-10-17' >&2`
	java11 = `echo 'openjdk version "11.0.2" 2019-01-15' >&2`
)

func TestAMissingToolIsAnErrorThatSaysWhatToInstall(t *testing.T) {
	for name, scripts := range map[string]map[string]string{
		"nothing":       {},
		"an old Java":   {"java": java11, "mvn": "exit 1"},
		"no Maven":      {"java": java17},
		"dead Docker":   {"docker": "exit 1"},
		"java's a stub": {"java": "exit 1"},
	} {
		t.Run(name, func(t *testing.T) {
			stubs(t, scripts)
			_, err := Start(t.Context(), Options{Dir: t.TempDir()})
			if err == nil {
				t.Fatal("Start succeeded with nothing to start")
			}
			for _, want := range []string{"Java 17", "Maven", "Docker", EndpointVariable} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not name %s:\n%v", want, err)
				}
			}
		})
	}
}

func TestAFetchThatBrokeOffIsNotTakenForAWholeOne(t *testing.T) {
	dir := t.TempDir()
	stubs(t, map[string]string{"java": java17,
		"mvn": `for a; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done; mkdir -p "$d"; echo half >"$d/some.jar"; echo connection lost; exit 1`})
	err := fetch(t.Context(), quiet(dir))
	if err == nil || !strings.Contains(err.Error(), "connection lost") {
		t.Fatalf("fetch = %v, want Maven's own words", err)
	}
	if fetched(dir) {
		t.Error("a broken fetch counts as a whole one")
	}
	if left := entries(t, dir); len(left) != 1 || left[0] != "dynamodb-local.lock" {
		t.Errorf("a broken fetch left %v", left)
	}
}

func TestAFetchThatWasKilledIsClearedAway(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dynamodb-local.partial-1", "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	stubs(t, map[string]string{"mvn": fakeMaven})
	if err := fetch(t.Context(), quiet(dir)); err != nil {
		t.Fatal(err)
	}
	want := []string{"dynamodb-local-" + version, "dynamodb-local.lock"}
	if diff := cmp.Diff(want, entries(t, dir)); diff != "" {
		t.Errorf("left in .local (-want +got):\n%s", diff)
	}
}

// fakeMaven takes its time, and counts its runs beside the directory it fills.
var fakeMaven = `for a; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done
mkdir -p "$d"; sleep 0.3; echo jar >"$d/DynamoDBLocal-` + version + `.jar"; echo ran >>"${FETCH_LOG:-/dev/null}"`

func TestProcessesThatFetchAtTheSameTimeFetchOnce(t *testing.T) {
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	stubs(t, map[string]string{"mvn": fakeMaven})
	t.Setenv("FETCH_LOG", log)
	var wg sync.WaitGroup
	for range 8 {
		// Goroutines stand for processes: a flock belongs to the open file, not to the process.
		wg.Go(func() {
			if err := fetch(t.Context(), quiet(dir)); err != nil {
				t.Error(err)
			}
			if !fetched(dir) {
				t.Error("fetch returned before the jars were there")
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "ran"); got != 1 {
		t.Errorf("Maven ran %d times, want once", got)
	}
}

func TestRootOnDebianGetsWhatIsMissingInstalledAndIsTold(t *testing.T) {
	if release, err := os.ReadFile("/etc/os-release"); os.Geteuid() != 0 || err != nil || !isDebian(string(release)) || !nativeSQLite() {
		t.Skip("SKIPPED: needs root on Debian or a kin of it")
	}
	dir := t.TempDir()
	// The stub installs the tools into its own directory. A release whose default Java is
	// too old gets the one that is asked for by name.
	stubs(t, map[string]string{"apt-get": `
echo "$*" >>"` + dir + `/calls"
here=${0%/*}
put() { printf '#!/bin/sh\n%s\n' "$2" >"$here/$1"; chmod +x "$here/$1"; }
case $* in *default-jre*) put java "$OLD";; *openjdk-17*) put java "$NEW";; esac
case $* in *maven*) put mvn "$MAVEN";; esac`})
	t.Setenv("OLD", java11)
	t.Setenv("NEW", java17)
	t.Setenv("MAVEN", fakeMaven)
	var told bytes.Buffer
	if _, err := choose(t.Context(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&told, nil))}); err != nil {
		t.Fatal(err)
	}
	if !fetched(dir) {
		t.Error("the tools were installed, but nothing was fetched")
	}
	calls, err := os.ReadFile(dir + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"update", "install --no-install-recommends default-jre-headless maven", "install --no-install-recommends openjdk-17-jre-headless"} {
		if !strings.Contains(string(calls), want) {
			t.Errorf("apt-get was not called with %q:\n%s", want, calls)
		}
		if !strings.Contains(told.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, told.String())
		}
	}
}

func quiet(dir string) Options {
	return Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}
}

func TestDockerServesWhereJavaIsMissing(t *testing.T) {
	// The stub plays an engine: run keeps a server up until its input closes or kill comes.
	dir := t.TempDir()
	stubs(t, map[string]string{"docker": `
echo "$*" >>"` + dir + `/calls"
case $1 in
run) echo $$ >"` + dir + `/pid"; read -r _; exit 0;;
kill) kill "$(cat "` + dir + `/pid")";;
esac`})
	way, err := choose(t.Context(), quiet(dir))
	if err != nil {
		t.Fatal(err)
	}
	p, err := way(12345)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the container runs", func() bool { _, err := os.Stat(dir + "/pid"); return err == nil })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"run --rm --interactive", "127.0.0.1:12345:8000", "amazon/dynamodb-local:" + version, "-inMemory", "\nkill keyreeve-dynamodb-"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docker was not called with %q:\n%s", want, text)
		}
	}
}

func TestDockerKeepsDataWhereItIsAsked(t *testing.T) {
	got := strings.Join(dockerArgs("n", 1, Options{DataDir: "/here"}), " ")
	if !strings.Contains(got, "--volume /here:/data") || !strings.Contains(got, "-dbPath /data") || strings.Contains(got, "-inMemory") {
		t.Errorf("docker %s", got)
	}
}

func TestJavaMajor(t *testing.T) {
	for text, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`: 17,
		`openjdk version "21" 2023-09-19`:      21,
		`java version "1.8.0_402"`:             8,
		`The operation couldn’t be completed`:  0,
	} {
		if got := javaMajor(text); got != want {
			t.Errorf("javaMajor(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestIsDebian(t *testing.T) {
	for text, want := range map[string]bool{
		"PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n": true,
		"ID=ubuntu\nID_LIKE=debian\n":                      true,
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n":        true,
		"ID=fedora\nNAME=\"not debian\"\n":                 false,
		"":                                                 false,
	} {
		if got := isDebian(text); got != want {
			t.Errorf("isDebian(%q) = %t, want %t", text, got, want)
		}
	}
}

func TestTheVersionIsPinnedInThePomAlone(t *testing.T) {
	if !strings.Contains(string(pom), "<version>"+Version()+"</version>") || Version() == "" {
		t.Errorf("Version() = %q, which pom.xml does not hold", Version())
	}
	for _, name := range entries(t, ".") {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), Version()) {
			t.Errorf("%s repeats the version", name)
		}
	}
}

// helper runs this test binary as another program and returns its output, of which the
// first line has come.
func helper(t *testing.T, role string) (lines *bufio.Scanner, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVariable+"="+role)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait() // not cmd.Wait, which would close the output
	})
	t.Cleanup(kill)
	lines = bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("helper %s said nothing", role)
	}
	return lines, kill
}

func refuses(endpoint string) bool {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(endpoint, "http://"), 2*time.Second)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := fs.ReadDir(os.DirFS(dir), ".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
