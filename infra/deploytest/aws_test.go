package deploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// The services that the product itself calls have their SDK here. For the three that only
// a test asks (Lambda, CloudFormation, CloudWatch Logs) a signed request does.

func administrator(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, nil
}

func (e *emulator) dynamodb() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: aws.String(e.url()), Credentials: aws.CredentialsProviderFunc(administrator),
	})
}

func (e *emulator) secrets() *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: region, BaseEndpoint: aws.String(e.url()), Credentials: aws.CredentialsProviderFunc(administrator),
	})
}

// ask sends a signed request to an AWS service. Who signs may be empty: the administrator.
func (e *emulator) ask(t *testing.T, signer, service, method, path string, header map[string]string, body string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.url()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	credentials, _ := administrator(t.Context())
	if signer != "" {
		credentials.AccessKeyID = signer
	}
	err = v4.NewSigner().SignHTTP(t.Context(), credentials, req, hash([]byte(body)), service, region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, text
}

// invocation is what came of an invocation of a function.
type invocation struct {
	status int    // of Lambda's API
	failed bool   // the function returned an error
	answer []byte // what it returned; may hold a key
}

// invoke is `aws lambda invoke` by who signs.
func (e *emulator) invoke(t *testing.T, signer, function, payload string) invocation {
	t.Helper()
	status, header, body := e.ask(t, signer, "lambda", http.MethodPost, "/2015-03-31/functions/"+function+"/invocations", nil, payload)
	return invocation{status, header.Get("X-Amz-Function-Error") != "", body}
}

// physical are the physical ids of a stack's resources by their logical ids.
func (e *emulator) physical(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for next := ""; ; {
		query := url.Values{"Action": {"ListStackResources"}, "Version": {"2010-05-15"}, "StackName": {stackName}}
		if next != "" {
			query.Set("NextToken", next)
		}
		status, _, body := e.ask(t, "", "cloudformation", http.MethodPost, "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, query.Encode())
		if status != http.StatusOK {
			t.Fatalf("ListStackResources = %d\n%s", status, body)
		}
		var page struct {
			Resources []struct {
				Logical  string `xml:"LogicalResourceId"`
				Physical string `xml:"PhysicalResourceId"`
			} `xml:"ListStackResourcesResult>StackResourceSummaries>member"`
			Next string `xml:"ListStackResourcesResult>NextToken"`
		}
		if err := xml.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Resources {
			ids[r.Logical] = r.Physical
		}
		if next = page.Next; next == "" {
			return ids
		}
	}
}

// logged returns the messages in a log group.
func (e *emulator) logged(t *testing.T, group string) (messages []string) {
	t.Helper()
	for next := ""; ; {
		request, err := json.Marshal(map[string]string{"logGroupName": group, "nextToken": next})
		if err != nil {
			t.Fatal(err)
		}
		if next == "" {
			request = bytes.Replace(request, []byte(`,"nextToken":""`), nil, 1)
		}
		status, _, body := e.ask(t, "", "logs", http.MethodPost, "/", map[string]string{
			"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328.FilterLogEvents",
		}, string(request))
		var page struct {
			Events    []struct{ Message string }
			NextToken string
		}
		if err := json.Unmarshal(body, &page); err != nil || status != http.StatusOK {
			t.Fatalf("FilterLogEvents = %d, %v", status, err)
		}
		for _, ev := range page.Events {
			messages = append(messages, ev.Message)
		}
		if next = page.NextToken; next == "" {
			return messages
		}
	}
}
