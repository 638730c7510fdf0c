package main

import "testing"

func TestACallGoesToItsRegionsEndpoint(t *testing.T) {
	for _, tt := range []struct{ service, region, override, want string }{
		{"apigateway", "eu-central-1", "", "https://apigateway.eu-central-1.amazonaws.com"},
		{"lambda", "cn-north-1", "", "https://lambda.cn-north-1.amazonaws.com.cn"},
		{"lambda", "us-gov-west-1", "", "https://lambda.us-gov-west-1.amazonaws.com"},
		{"events", "eu-west-3", "http://127.0.0.1:4566/", "http://127.0.0.1:4566"},
	} {
		if got := awsEndpoint(tt.service, tt.region, tt.override); got != tt.want {
			t.Errorf("%s in %s: %s, want %s", tt.service, tt.region, got, tt.want)
		}
	}
}
