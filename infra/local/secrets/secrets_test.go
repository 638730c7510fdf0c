package secrets_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/atomicfile"
	"github.com/keyreeve/keyreeve/infra/local/secrets"
	"github.com/keyreeve/keyreeve/pkg/apikey"
)

const value = `{"current":"p1","p1":"not-a-real-pepper-but-long-enough-0123"}`

// serve returns the SDK's client of a Manager, signing with accessKeyID.
func serve(t *testing.T, file, accessKeyID string) *secretsmanager.Client {
	t.Helper()
	srv := httptest.NewServer(secrets.New(secrets.Options{
		Name: "keyreeve/peppers", File: file, AccessKeyID: "RIGHT", Region: "us-east-1", AccountID: "000000000000",
	}))
	t.Cleanup(srv.Close)
	return secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(srv.URL),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: "s", SessionToken: "t"}, nil
		}),
		Retryer: aws.NopRetryer{},
	})
}

func fileWith(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "peppers.json")
	if err := atomicfile.Write(file, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return file
}

func get(id string) *secretsmanager.GetSecretValueInput {
	return &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)}
}

func TestTheSDKReadsTheSecretByNameAndARN(t *testing.T) {
	client := serve(t, fileWith(t, value), "RIGHT")
	byName, err := client.GetSecretValue(t.Context(), get("keyreeve/peppers"))
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(byName.SecretString); got != value {
		t.Errorf("another value came back, of %d bytes", len(got))
	}
	if d := cmp.Diff([]string{"AWSCURRENT"}, byName.VersionStages); d != "" {
		t.Error(d)
	}
	if byName.CreatedDate == nil || byName.CreatedDate.Year() < 2024 {
		t.Errorf("created %v", byName.CreatedDate)
	}
	byARN, err := client.GetSecretValue(t.Context(), get(*byName.ARN))
	if err != nil {
		t.Fatal(err)
	}
	if *byARN.VersionId != *byName.VersionId {
		t.Error("the version changed although the value did not")
	}
}

func TestPutReplacesTheValueAndKeepsTheFilePrivate(t *testing.T) {
	file := fileWith(t, value)
	client := serve(t, file, "RIGHT")
	before, err := client.GetSecretValue(t.Context(), get("keyreeve/peppers"))
	if err != nil {
		t.Fatal(err)
	}
	next := strings.ReplaceAll(value, "p1", "p2")
	put, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("keyreeve/peppers"), SecretString: &next,
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := client.GetSecretValue(t.Context(), get("keyreeve/peppers"))
	if err != nil {
		t.Fatal(err)
	}
	if *after.SecretString != next {
		t.Error("the new value did not come back")
	}
	if *after.VersionId != *put.VersionId || *after.VersionId == *before.VersionId {
		t.Errorf("versions: before %s, put %s, after %s", *before.VersionId, *put.VersionId, *after.VersionId)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
	described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: after.ARN})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][]string{*after.VersionId: {"AWSCURRENT"}}, described.VersionIdsToStages); d != "" {
		t.Error(d)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 {
		t.Errorf("%d files are left, want the one", len(left))
	}
}

func TestAnEditByHandIsANewVersion(t *testing.T) {
	file := fileWith(t, value)
	client := serve(t, file, "RIGHT")
	before, err := client.GetSecretValue(t.Context(), get("keyreeve/peppers"))
	if err != nil {
		t.Fatal(err)
	}
	edited := value + "\n"
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := client.GetSecretValue(t.Context(), get("keyreeve/peppers"))
	if err != nil {
		t.Fatal(err)
	}
	if *after.SecretString != edited || *after.VersionId == *before.VersionId {
		t.Error("the edit is not seen, or is the same version")
	}
}

func TestRefusals(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.json")
	stage := "AWSPREVIOUS"
	long := strings.Repeat("x", 65_537)
	for _, tt := range []struct {
		name, file, accessKeyID string
		call                    func(*secretsmanager.Client) error
		want                    string
	}{
		{"another access key id", fileWith(t, value), "WRONG", func(c *secretsmanager.Client) error {
			_, err := c.GetSecretValue(t.Context(), get("keyreeve/peppers"))
			return err
		}, "UnrecognizedClientException"},
		{"another secret", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.GetSecretValue(t.Context(), get("other"))
			return err
		}, "ResourceNotFoundException"},
		{"an earlier version", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("keyreeve/peppers"), VersionStage: &stage})
			return err
		}, "ResourceNotFoundException"},
		{"no file", missing, "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.GetSecretValue(t.Context(), get("keyreeve/peppers"))
			return err
		}, "ResourceNotFoundException"},
		{"a value that is too long", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("keyreeve/peppers"), SecretString: &long})
			return err
		}, "InvalidParameterException"},
		{"a binary value", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("keyreeve/peppers"), SecretBinary: []byte("x")})
			return err
		}, "InvalidParameterException"},
		{"a stage that is not kept", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: aws.String("keyreeve/peppers"), SecretString: aws.String("x"), VersionStages: []string{"AWSPENDING"},
			})
			return err
		}, "InvalidParameterException"},
		{"an operation that is not there", fileWith(t, value), "RIGHT", func(c *secretsmanager.Client) error {
			_, err := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("keyreeve/peppers")})
			return err
		}, "UnknownOperationException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(serve(t, tt.file, tt.accessKeyID))
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != tt.want {
				t.Fatalf("error %v, want %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "not-a-real-pepper") {
				t.Error("the error quotes the secret")
			}
		})
	}
}

func TestAnUnsignedRequestGetsNothing(t *testing.T) {
	srv := httptest.NewServer(secrets.New(secrets.Options{Name: "s", File: fileWith(t, value), AccessKeyID: "RIGHT"}))
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(`{"SecretId":"s"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d, want 400", res.StatusCode)
	}
}

func TestPeppersAreMadeOnceAndParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peppers.json")
	var first string
	for range 2 {
		if err := secrets.EnsurePeppers(file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := apikey.ParseRing(text); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		}
		if string(text) != first {
			t.Error("the second call replaced the peppers")
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
	other := filepath.Join(t.TempDir(), "peppers.json")
	if err := secrets.EnsurePeppers(other); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) == first {
		t.Errorf("two rings are the same, or %v", err)
	}
}

func TestABrokenPepperFileIsLeftAlone(t *testing.T) {
	file := fileWith(t, `{"current":"p1"`)
	if err := secrets.EnsurePeppers(file); err == nil {
		t.Error("no error")
	}
	if text, _ := os.ReadFile(file); string(text) != `{"current":"p1"` {
		t.Error("the file was changed")
	}
}
