package verify

import "testing"

func TestParseAuthorizationTakesTwoSchemesAndOneCredential(t *testing.T) {
	for _, value := range []string{"Api-Key k_1", "Bearer k_1", "api-key k_1", "BEARER k_1", "bEaReR k_1"} {
		if got, ok := ParseAuthorization(value); got != "k_1" || !ok {
			t.Errorf("ParseAuthorization(%q) = %q, %t; want the credential", value, got, ok)
		}
	}
	for _, value := range []string{
		"", " ", "k_1", "Bearer", "Bearer ", "Bearer  k_1", " Bearer k_1", "Bearer k_1 ", "Bearer\tk_1", "Bearer k_1\t", "Bearer \tk_1",
		"Bearer k_1 k_2", "Bearer k_1,k_2", "Bearer k_1, Bearer k_2", "Basic k_1", "Token k_1", "ApiKey k_1", "Api-Key: k_1", "Bearer: k_1",
		"X-API-Key k_1", "Bearerk_1", "Api-\u212aey k_1",
	} {
		if got, ok := ParseAuthorization(value); got != "" || ok {
			t.Errorf("ParseAuthorization(%q) = %q, %t; want a refusal", value, got, ok)
		}
	}
}
