package ddb

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// findDocker returns a docker whose engine answers.
func findDocker(ctx context.Context) (path string, err error) {
	path, err = exec.LookPath("docker")
	if err != nil {
		return "", fmt.Errorf("no docker on PATH")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, path, "version", "--format", "{{.Server.Version}}").Run(); err != nil {
		return "", fmt.Errorf("docker has no running engine: %w", err)
	}
	return path, nil
}

func image() string { return "amazon/dynamodb-local:" + version }

// pull gets the image unless it is here, apart from the start and its short patience.
func pull(ctx context.Context, docker string, o Options) error {
	if exec.CommandContext(ctx, docker, "image", "inspect", image()).Run() == nil {
		return nil
	}
	o.Log.Info("pulling DynamoDB Local with Docker, once", "image", image())
	if out, err := exec.CommandContext(ctx, docker, "pull", "--quiet", image()).CombinedOutput(); err != nil {
		return fmt.Errorf("docker pull %s: %w\n%s", image(), err, out)
	}
	return nil
}

// inContainer runs the server until its standard input closes. The input is a pipe that
// only our process holds open, so the container ends with us, however we end.
const inContainer = `java -Xmx512m -jar DynamoDBLocal.jar "$@" </dev/null & read -r _; kill $!`

// dockerRunner starts the container in the foreground of a docker client that is our child.
func dockerRunner(docker string, o Options) runner {
	return func(port int) (*process, error) {
		name := "keyreeve-dynamodb-" + rand.Text()
		cmd := exec.Command(docker, dockerArgs(name, port, o)...)
		// StdinPipe closes its end when the client has ended; till then nobody writes.
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
		p, err := spawn(cmd)
		if err != nil {
			return nil, err
		}
		p.gentle = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*stopTimeout)
			defer cancel()
			return exec.CommandContext(ctx, docker, "kill", name).Run()
		}
		return p, nil
	}
}

func dockerArgs(name string, port int, o Options) []string {
	args := []string{"run", "--rm", "--interactive", "--name", name, "--publish", fmt.Sprintf("127.0.0.1:%d:8000", port)}
	server := []string{"-sharedDb", "-disableTelemetry"}
	if o.DataDir == "" {
		server = append(server, "-inMemory")
	} else {
		// As ourselves, so that the files are ours and not the image's user's.
		args = append(args, "--volume", o.DataDir+":/data", "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
		server = append(server, "-dbPath", "/data")
	}
	args = append(args, "--entrypoint", "/bin/sh", image(), "-c", inContainer, "server")
	return append(args, server...)
}
