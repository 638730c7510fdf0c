package sample

import "github.com/keyreeve/keyreeve/functions/sample/document"

// Workspace is a part of the account that people work in. It belongs to no customer.
type Workspace struct {
	WorkspaceID string    `json:"workspaceId"`
	Name        string    `json:"name"`
	CreatedAt   timestamp `json:"createdAt"`
}

func (a *api) listWorkspaces(c *call) (answer, error) {
	return a.list(c, document.Workspaces, asStored)
}

func (a *api) createWorkspace(c *call) (answer, error) {
	var in struct {
		Name string `json:"name"`
	}
	var f fields
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	f.text("name", in.Name, 1, 100)
	if err := f.err(); err != nil {
		return answer{}, err
	}
	if !c.may("") {
		return answer{}, errConfined
	}
	ws := Workspace{WorkspaceID: "ws_" + a.NewID(), Name: in.Name, CreatedAt: timestamp(c.now)}
	return a.create(c, document.Doc{Kind: document.Workspaces, ID: ws.WorkspaceID}, ws, ws)
}
