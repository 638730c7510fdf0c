package ddb

import (
	"context"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
)

//go:embed pom.xml
var pom []byte

// Version of DynamoDB Local, as pom.xml pins it.
func Version() string { return version }

var version = pinnedVersion(pom)

func pinnedVersion(pom []byte) string {
	var project struct {
		Dependencies []struct {
			ArtifactID string `xml:"artifactId"`
			Version    string `xml:"version"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal(pom, &project); err != nil {
		panic(fmt.Sprintf("infra/local/ddb/pom.xml: %v", err))
	}
	for _, d := range project.Dependencies {
		if d.ArtifactID == "DynamoDBLocal" {
			return d.Version
		}
	}
	panic("infra/local/ddb/pom.xml: no DynamoDBLocal")
}

const javaNeeded = 17

// findJava returns a java of version 17 or newer, from JAVA_HOME or PATH.
func findJava(ctx context.Context) (path string, err error) {
	candidates := []string{"java"}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = []string{filepath.Join(home, "bin", "java"), "java"}
	}
	err = fmt.Errorf("no java on PATH and no JAVA_HOME")
	for _, c := range candidates {
		path, lookErr := exec.LookPath(c)
		if lookErr != nil {
			continue
		}
		// macOS has a stub of this name that only says where to get Java.
		out, runErr := exec.CommandContext(ctx, path, "-version").CombinedOutput()
		if runErr != nil {
			err = fmt.Errorf("%s -version: %w", path, runErr)
			continue
		}
		if v := javaMajor(string(out)); v < javaNeeded {
			err = fmt.Errorf("%s is version %d, older than %d", path, v, javaNeeded)
			continue
		}
		return path, nil
	}
	return "", err
}

var javaVersion = regexp.MustCompile(`version "(\d+)(?:\.(\d+))?`)

// javaMajor reads what java -version prints; 0 if that says nothing. Before 9 the first
// number was 1.
func javaMajor(text string) int {
	m := javaVersion.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	if n == 1 && m[2] != "" {
		n, _ = strconv.Atoi(m[2])
	}
	return n
}

// nativeSQLite reports whether the jars bring SQLite for this machine.
func nativeSQLite() bool {
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64", "darwin/amd64", "darwin/arm64":
		return true
	}
	return false
}

// jars is the directory of the jars. It exists only when the fetch was whole.
func jars(dir string) string { return filepath.Join(dir, "dynamodb-local-"+version) }

func fetched(dir string) bool {
	_, err := os.Stat(jars(dir))
	return err == nil
}

// fetch fills the directory of the jars with Maven, unless another process has.
func fetch(ctx context.Context, o Options) error {
	if fetched(o.Dir) {
		return nil
	}
	unlock, err := lock(ctx, filepath.Join(o.Dir, "dynamodb-local.lock"), func() {
		o.Log.Info("waiting for another process that fetches DynamoDB Local")
	})
	if err != nil {
		return fmt.Errorf("fetching DynamoDB Local: %w", err)
	}
	defer unlock()
	if fetched(o.Dir) {
		return nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("fetching DynamoDB Local: %w", err)
	}
	o.Log.Info("fetching DynamoDB Local with Maven, once", "version", version, "into", jars(o.Dir))

	// What a fetch that was killed has left is nobody's: the lock is ours.
	const partial = "dynamodb-local.partial-"
	stale, _ := filepath.Glob(filepath.Join(o.Dir, partial+"*"))
	for _, s := range stale {
		_ = os.RemoveAll(s)
	}
	temp, err := os.MkdirTemp(o.Dir, partial)
	if err != nil {
		return fmt.Errorf("fetching DynamoDB Local: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := os.WriteFile(filepath.Join(temp, "pom.xml"), pom, 0o644); err != nil {
		return fmt.Errorf("fetching DynamoDB Local: %w", err)
	}
	lib := filepath.Join(temp, "lib")
	// -C: a jar that does not match its checksum ends the fetch.
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-C", "dependency:copy-dependencies", "-DoutputDirectory="+lib)
	cmd.Dir = temp
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetching DynamoDB Local: mvn: %w\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(lib, "DynamoDBLocal-"+version+".jar")); err != nil {
		return fmt.Errorf("fetching DynamoDB Local: mvn ended well but %w", err)
	}
	// MkdirTemp's directory is for the owner alone; the jars may be everybody's.
	if err := errors.Join(os.Chmod(lib, 0o755), os.Rename(lib, jars(o.Dir))); err != nil {
		return fmt.Errorf("fetching DynamoDB Local: %w", err)
	}
	return nil
}

// javaRunner starts the jars. The flags halve the JVM's start on two cores (1.0 s against
// 2.6 s): the simple collector, and no second compiler.
func javaRunner(java string, o Options) runner {
	return func(port int) (*process, error) {
		lib := jars(o.Dir)
		args := []string{
			"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-Dsqlite4java.library.path=" + lib, "-cp", filepath.Join(lib, "*"),
			"com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
			"-sharedDb", "-disableTelemetry", "-port", strconv.Itoa(port),
		}
		if o.DataDir == "" {
			args = append(args, "-inMemory")
		} else {
			args = append(args, "-dbPath", o.DataDir)
		}
		cmd := exec.Command(java, args...)
		cmd.Dir = o.Dir
		return spawn(cmd)
	}
}
