package httpapi

import "testing"

func TestARequestMeetsOneOperation(t *testing.T) {
	a := &api{operations: operations()}
	for _, c := range []struct{ method, path, operation, id string }{
		{"GET", "/v1/api-keys", "listKeys", ""},
		{"GET", "/v1/api-keys/", "listKeys", ""},
		{"GET", "/v1/api-keys/self", "getSelf", ""},
		{"GET", "/v1/api-keys/self/", "getSelf", ""},
		{"GET", "/v1/api-keys/key_8fQ2mZ0a", "getKey", "key_8fQ2mZ0a"},
		{"GET", "/v1/api-keys/verify", "getKey", "verify"},
		{"POST", "/v1/api-keys/verify", "verifyKey", ""},
		{"POST", "/v1/api-keys/x/revoke/", "revokeKey", "x"},
		{"GET", "/v1/api-keys/a%2Frevoke", "getKey", "a/revoke"},
		{"DELETE", "/v1/account/api-keys/2/", "deleteAccountKey", "2"},
		{"GET", "/v1/api-keys/x/usage", "getKeyUsage", "x"},
		{"GET", "/v1/usage/", "getUsage", ""},
		{"POST", "/v1/webhooks/x/test", "testWebhook", "x"},
		{"GET", "/v1/webhooks/test", "getWebhook", "test"},
		{"POST", "/v1/deliveries/a_b/redeliver/", "redeliver", "a_b"},
		{"GET", "/v1/alerts/x/acknowledge", "", ""},
		{"GET", "/v1/api-keys//usage", "", ""},
		{"GET", "/v1/api-keys//", "", ""},
		{"GET", "/v1/api-keys/a/b", "", ""},
		{"POST", "/v1/api-keys/a/b/revoke", "", ""},
		{"POST", "/v1/api-keys/revoke", "", ""},
		{"POST", "/v1/api-keys//revoke", "", ""},
		{"GET", "/v1/api-keys/%zz", "", ""},
		{"GET", "/v1/account/api-keys/2", "", ""},
		{"get", "/v1/api-keys", "", ""},
		{"HEAD", "/v1/api-keys", "", ""},
		{"GET", "", "", ""},
		{"GET", "/", "", ""},
	} {
		op, id := a.match(c.method, c.path)
		got := ""
		if op != nil {
			got = op.id
		}
		if got != c.operation || id != c.id {
			t.Errorf("match(%s %s) = %q, id %q; want %q, %q", c.method, c.path, got, id, c.operation, c.id)
		}
	}
}
