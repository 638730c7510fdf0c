package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// environment is what the functions are told by their environment variables.
type environment map[string]string

// files are what write has written, by their paths.
type files struct{ template, env string }

// write puts what `sam local` takes beside the template, where the assets are.
func write(template, stage string, env environment) (files, error) {
	text, err := os.ReadFile(template)
	if err != nil {
		return files{}, fmt.Errorf("reading the template, which cdk synth writes: %w", err)
	}
	adapted, err := adapt(text, stage, slices.Sorted(maps.Keys(env)))
	if err != nil {
		return files{}, fmt.Errorf("%s: %w", template, err)
	}
	// Parameters: for every function.
	values, err := json.MarshalIndent(map[string]environment{"Parameters": env}, "", "  ")
	if err != nil {
		return files{}, err
	}
	dir := filepath.Dir(template)
	out := files{filepath.Join(dir, "sam.template.json"), filepath.Join(dir, "sam.env.json")}
	if err := os.WriteFile(out.template, adapted, 0o644); err != nil {
		return files{}, err
	}
	return out, os.WriteFile(out.env, append(values, '\n'), 0o644)
}

// adapt returns the template with what SAM needs in it, and leaves the routes, the
// authorizers and the code alone:
//
//   - Each function declares the variables: SAM passes on no others. An empty one counts as
//     not set.
//   - Each function is called by its handler (SAM reads Metadata.SamResourceId), since the
//     CDK's names end in a hash. The CDK's path goes, of which SAM complains once per
//     resource.
//   - One stage is left. SAM merges them all into one, and takes the variables of the last.
func adapt(template []byte, stage string, variables []string) ([]byte, error) {
	var t object
	dec := json.NewDecoder(bytes.NewReader(template))
	dec.UseNumber() // a number stays as it is written
	if err := dec.Decode(&t); err != nil {
		return nil, err
	}
	resources := t.member("Resources")
	functions, stages := 0, 0
	for name := range resources {
		r := resources.member(name)
		switch r["Type"] {
		case "AWS::Lambda::Function":
			functions++
			if err := declare(r, variables); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case "AWS::ApiGateway::Stage":
			if r.member("Properties")["StageName"] != stage {
				delete(resources, name)
				continue
			}
			stages++
		}
		if m, ok := r["Metadata"].(map[string]any); ok {
			delete(m, "aws:cdk:path")
		}
	}
	if functions == 0 || stages != 1 {
		return nil, fmt.Errorf("%d functions and %d stages %s: want some, and one", functions, stages, stage)
	}
	return json.MarshalIndent(t, "", " ")
}

// object is a JSON object.
type object map[string]any

// member returns a member that is an object, made if it is not there.
func (o object) member(name string) object {
	if m, ok := o[name].(map[string]any); ok {
		return m
	}
	m := map[string]any{}
	o[name] = m
	return m
}

func declare(r object, variables []string) error {
	handler, ok := r.member("Properties")["Handler"].(string)
	if !ok {
		return errors.New("a function without a handler")
	}
	if r.member("Metadata")["aws:asset:path"] == nil {
		return errors.New("no aws:asset:path: SAM would not find the code; was the template made by cdk synth?")
	}
	r.member("Metadata")["SamResourceId"] = handler
	declared := r.member("Properties").member("Environment").member("Variables")
	for _, v := range variables {
		if declared[v] == nil {
			declared[v] = ""
		}
	}
	return nil
}
