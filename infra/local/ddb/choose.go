package ddb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// choose finds a way to run DynamoDB Local on this machine and prepares it. The package
// comment has the order.
func choose(ctx context.Context, o Options) (runner, error) {
	java, noJava := javaReady(ctx, o)
	if noJava == nil {
		return viaJava(ctx, java, o)
	}
	docker, noDocker := findDocker(ctx)
	if noDocker == nil {
		o.Log.Info("running DynamoDB Local with Docker", "because", noJava.Error())
		if err := pull(ctx, docker, o); err != nil {
			return nil, err
		}
		return dockerRunner(docker, o), nil
	}
	if canInstall() && nativeSQLite() {
		if err := install(ctx, o); err != nil {
			return nil, err
		}
		if java, noJava = javaReady(ctx, o); noJava == nil {
			return viaJava(ctx, java, o)
		}
	}
	return nil, fmt.Errorf(`DynamoDB Local needs one of these, and this machine has none:
  - Java %d or newer and Maven: apt-get install openjdk-17-jre-headless maven, or brew install openjdk maven
    (%w)
  - Docker with a running engine
    (%w)
  - a DynamoDB that runs already: set %s to its URL`, javaNeeded, noJava, noDocker, EndpointVariable)
}

// javaReady returns a java if everything for that way is here or can be fetched.
func javaReady(ctx context.Context, o Options) (java string, err error) {
	if !nativeSQLite() {
		return "", errors.New("DynamoDB Local has no SQLite for this processor")
	}
	if java, err = findJava(ctx); err != nil {
		return "", err
	}
	if !fetched(o.Dir) {
		if _, err := exec.LookPath("mvn"); err != nil {
			return "", errors.New("no mvn on PATH")
		}
	}
	return java, nil
}

func viaJava(ctx context.Context, java string, o Options) (runner, error) {
	if err := fetch(ctx, o); err != nil {
		return nil, err
	}
	return javaRunner(java, o), nil
}

// canInstall reports whether this is a Debian, or a kin of it, with us as root.
func canInstall() bool {
	if os.Geteuid() != 0 {
		return false
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return false
	}
	text, err := os.ReadFile("/etc/os-release")
	return err == nil && isDebian(string(text))
}

// isDebian reads os-release(5).
func isDebian(release string) bool {
	for line := range strings.Lines(release) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "ID" || name == "ID_LIKE" {
			for _, id := range strings.Fields(strings.Trim(value, `"'`)) {
				if id == "debian" {
					return true
				}
			}
		}
	}
	return false
}

const installTimeout = 10 * time.Minute

// install adds what is missing with apt-get, under the machine-wide lock of apt itself.
func install(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	apt := func(args ...string) error {
		args = append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=300"}, args...)
		o.Log.Info("installing what DynamoDB Local needs", "command", "apt-get "+strings.Join(args, " "))
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out := &tail{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	var missing []string
	if _, err := findJava(ctx); err != nil {
		missing = append(missing, "default-jre-headless")
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		missing = append(missing, "maven")
	}
	if len(missing) == 0 {
		return nil
	}
	if err := apt("update"); err != nil {
		return err
	}
	if err := apt(append([]string{"install", "--no-install-recommends"}, missing...)...); err != nil {
		return err
	}
	// The default of an older release is too old; it offers a newer one by its name.
	if _, err := findJava(ctx); err != nil {
		return apt("install", "--no-install-recommends", fmt.Sprintf("openjdk-%d-jre-headless", javaNeeded))
	}
	return nil
}
