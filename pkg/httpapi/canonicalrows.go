package httpapi

import (
	"net/http"
	"reflect"
	"slices"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

var forceParameter = parameter{name: "force", boolean: true,
	text: "true: even if no other key could manage the account's keys afterwards."}

func canonicalOperations() []operation {
	var statuses []string
	for _, s := range keys.Statuses() {
		statuses = append(statuses, string(s))
	}
	var sorts []string
	for _, s := range []string{"number", "name", "createdAt", "expirationTs", "lastUsed", "environment", "status"} {
		sorts = append(sorts, s, "-"+s)
	}
	reading := []string{"not_found"}
	changing := []string{"not_found", "conflict", "outcome_unknown", "not_settled"}
	with := func(base []string, more ...string) []string { return append(slices.Clone(base), more...) }
	key := func(text string, meta reflect.Type) answerSchema {
		return answerSchema{text: text, data: of[keyView](), meta: meta}
	}
	issued := func(text string) answerSchema {
		return answerSchema{text: text, data: of[issuedKeyView](), meta: of[issuedMeta]()}
	}
	return []operation{
		{method: "GET", path: "/v1/api-keys", serve: (*api).listKeys, id: "listKeys", tag: "API keys",
			summary:     "List API keys",
			description: "Keys of the caller's account: a production key that holds api_keys:* sees every environment's, any other its own environment's. Deleted keys are listed only with status=revoked.",
			query: []parameter{
				environmentParameter("Only keys of this environment."),
				{name: "status", enum: statuses, text: "Only keys of this status."},
				{name: "permission", form: permissionForm, expect: "must be a permission such as customers:read", text: "Only keys that may use this permission of the catalogue, by name or by a wildcard."},
				{name: "customer", form: customerForm, expect: "must be 1 to 64 of A-Z, a-z, 0-9, '_' and '-'", text: "Only keys that are confined to customers of which this is one."},
				{name: "search", maxLength: 100, text: "Only keys with this text in name, owner, keyId or keyPrefix, in any letter case."},
				{name: "sort", enum: sorts, text: "Order; a minus in front turns it around. Default: number."},
				{name: "limit", minimum: 1, maximum: 1000, text: "Keys on one page. Default: one page with the first 1,000."},
				{name: "cursor", maxLength: 1000, text: "meta.next of the page before, with the same other parameters (limit may change)."},
			},
			status: http.StatusOK, answer: answerSchema{text: "The keys.", data: of[[]keyView](), meta: of[listMeta]()},
			problems: []string{"invalid_cursor"}},
		{method: "POST", path: "/v1/api-keys", serve: (*api).createKey, id: "createKey", tag: "API keys",
			summary: "Create an API key", description: "The answer holds the key itself, which is not kept and never shown again.",
			body: of[createKey](), bodyNeeded: true, idempotent: true,
			status: http.StatusCreated, etag: true, answer: issued("The key, with its plaintext."),
			problems: []string{"permission_escalation", "key_limit", "conflict", "outcome_unknown", "not_settled"}},
		{method: "GET", path: "/v1/api-keys/self", serve: (*api).self, id: "getSelf", tag: "API keys",
			summary: "Show the calling key", description: "What the holder of a key may know about it. Any live key may ask.",
			status: http.StatusOK, answer: answerSchema{text: "The calling key.", data: of[selfView]()}},
		{method: "GET", path: "/v1/api-keys/customers", serve: (*api).customers, id: "listCustomersInUse", tag: "API keys",
			summary: "List the customers that API keys are confined to", description: "Of the keys that the caller sees, deleted ones aside.",
			query: []parameter{
				{name: "search", maxLength: 64, text: "Only ids with this text in them, in any letter case."},
				{name: "limit", minimum: 1, maximum: 1000, text: "How many at most. Default: 100."},
			},
			status: http.StatusOK, answer: answerSchema{text: "The customers, in order of their ids.", data: of[[]customerView]()}},
		{method: "POST", path: "/v1/api-keys/verify", serve: (*api).verify, id: "verifyKey", tag: "API keys",
			summary: "Check a key", description: "Is this key good for this method and path on this environment? Nothing is counted. A key that the caller may not see gives the same answer as one that does not exist.",
			body: of[verifyKey](), bodyNeeded: true,
			status: http.StatusOK, answer: answerSchema{text: "The verdict.", data: of[verdictView]()}},
		{method: "GET", path: "/v1/api-keys/{id}", serve: (*api).getKey, id: "getKey", tag: "API keys",
			summary: "Show an API key", status: http.StatusOK, etag: true, answer: key("The key.", nil), problems: reading},
		{method: "PATCH", path: "/v1/api-keys/{id}", serve: (*api).updateKey, id: "updateKey", tag: "API keys",
			summary: "Change an API key", body: of[patchKey](), bodyNeeded: true, ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusOK, etag: true,
			answer:   answerSchema{text: "The key as it is now. meta is there when the last change was one of what it may do.", data: of[keyView](), meta: of[changeMeta](), someMeta: true},
			problems: with(changing, "permission_escalation", "primary_key", "key_not_active", "last_manager", "precondition_failed")},
		{method: "DELETE", path: "/v1/api-keys/{id}", serve: (*api).deleteKey, id: "deleteKey", tag: "API keys",
			summary: "Delete an API key for good", description: "Its next request fails. It cannot be undone. The primary key cannot be deleted.",
			ifMatch: true, query: []parameter{forceParameter},
			status: http.StatusOK, answer: answerSchema{text: "The key is deleted.", data: of[deletedView](), meta: of[changeMeta]()},
			problems: with(changing, "primary_key", "last_manager", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/revoke", serve: (*api).revokeKey, id: "revokeKey", tag: "API keys",
			summary: "Switch an API key off for now", description: "Its next request fails until it is activated again.",
			body: of[noFields](), ifMatch: true,
			query:  []parameter{forceParameter, {name: "descendants", boolean: true, text: "true: also every key that this one created, and those created by them."}},
			status: http.StatusOK, etag: true, answer: key("The key, inactive.", of[revokeMeta]()),
			problems: with(changing, "last_manager", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/activate", serve: (*api).activateKey, id: "activateKey", tag: "API keys",
			summary: "Switch an API key on again", body: of[noFields](), ifMatch: true,
			status: http.StatusOK, etag: true, answer: key("The key, active unless it has expired.", of[changeMeta]()),
			problems: with(changing, "permission_escalation", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/regenerate", serve: (*api).regenerateKey, id: "regenerateKey", tag: "API keys",
			summary: "Give an API key a new secret", description: "Same id, name, permissions and configuration. The old secret stops at once, or after graceSeconds, and never works longer than the key itself.",
			body: of[regenerateKey](), idempotent: true, ifMatch: true,
			status: http.StatusOK, etag: true, answer: answerSchema{text: "The key, with its new plaintext.", data: of[issuedKeyView](), meta: of[regeneratedMeta]()},
			problems: with(changing, "permission_escalation", "precondition_failed")},
		{method: "POST", path: "/v1/api-keys/{id}/simulate", serve: (*api).simulate, id: "simulateRequest", tag: "API keys",
			summary: "Ask what would become of a request", description: "Would a request with this key be let through, and which rule decides? It takes no secret, makes no request and counts nothing. It is answered by the code that decides about real requests.",
			body: of[simulateRequest](), bodyNeeded: true,
			status: http.StatusOK, answer: answerSchema{text: "What would become of it.", data: of[simulationView]()}, problems: reading},
		{method: "GET", path: "/v1/permissions", serve: (*api).permissions, id: "listPermissions", tag: "API keys",
			summary: "List the permissions that a key can hold", description: "Any live key may ask.",
			status: http.StatusOK, answer: answerSchema{text: "The catalogue.", data: of[[]permissionView](), meta: of[catalogueMeta]()}},
		{method: "GET", path: "/v1/routes", serve: (*api).routes, id: "listRoutes", tag: "About",
			summary: "List the routes of this API", description: "With what each asks for. Any live key may ask.",
			status: http.StatusOK, answer: answerSchema{text: "The route table, by path and method.", data: of[[]routeView](), meta: of[catalogueMeta]()}},
		{method: "GET", path: "/v1/account", serve: (*api).account, id: "getAccount", tag: "About",
			summary: "Show the caller's account",
			status:  http.StatusOK, answer: answerSchema{text: "The account.", data: of[ownAccountView]()}},
	}
}
