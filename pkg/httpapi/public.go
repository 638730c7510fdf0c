package httpapi

import "net/http"

type healthView struct {
	Status string `json:"status" enum:"ok"`
}

// health says that the function runs. It asks nothing of the store: anyone may call it as
// often as they like.
func (a *api) health(*call) (reply, error) {
	return ok(http.StatusOK, healthView{Status: "ok"}, nil, nil), nil
}

func (a *api) openAPI(*call) (reply, error) {
	text, err := a.document()
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: text, header: http.Header{"Cache-Control": {"public, max-age=300"}}}, nil
}

func publicOperations() []operation {
	return []operation{
		{method: "GET", path: "/openapi.json", serve: (*api).openAPI, public: true, id: "getOpenAPI", tag: "About",
			summary: "This document", status: http.StatusOK, answer: answerSchema{text: "OpenAPI 3.1.", anyObject: true}},
		{method: "GET", path: "/health", serve: (*api).health, public: true, id: "getHealth", tag: "About",
			summary: "Is the service up?", status: http.StatusOK, answer: answerSchema{text: "It is.", data: of[healthView]()}},
	}
}
