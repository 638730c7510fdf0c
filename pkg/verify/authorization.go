package verify

import "strings"

// ParseAuthorization returns the credential in the value of an Authorization header:
// "Api-Key <key>" or "Bearer <key>" (RFC 6750 section 2.1), the scheme in any letter case
// (RFC 9110 section 11.1), one space, nothing after the key. ok is false for every other
// form; whether the credential is a key is not looked at.
func ParseAuthorization(value string) (credential string, ok bool) {
	scheme, credential, found := strings.Cut(value, " ")
	if !found || credential == "" || strings.ContainsAny(credential, " ,\t") || !isScheme(scheme, "Bearer") && !isScheme(scheme, "Api-Key") {
		return "", false
	}
	return credential, true
}

// isScheme compares in any letter case. The length rules out what only Unicode takes for
// a letter of the scheme, such as the Kelvin sign for K.
func isScheme(s, scheme string) bool { return len(s) == len(scheme) && strings.EqualFold(s, scheme) }
