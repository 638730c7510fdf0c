package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// bootstrap is where make puts the binary for Lambda of an architecture, as this module's
// directories are laid out; the CDK runs the app in the directory of cdk.json.
func bootstrap(arch string) string { return filepath.Join("dist", "lambda-"+arch, "bootstrap") }

// routesFile is the name of a user's route table in the asset.
const routesFile = "routes.json"

// newAsset makes the directory that becomes every function's code: the binary, under the
// name that Lambda starts, and the user's route table if there is one. remove takes the
// directory away after the synthesis, which has copied it.
func newAsset(bootstrap string, routes []byte) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "keyreeve-asset-")
	if err != nil {
		return "", nil, fmt.Errorf("making the functions' asset: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // the system clears temporary directories too
	if err = copyFile(filepath.Join(dir, "bootstrap"), bootstrap, 0o755); err == nil && routes != nil {
		err = os.WriteFile(filepath.Join(dir, routesFile), routes, 0o644)
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("making the functions' asset: %w", err)
	}
	return dir, remove, nil
}

func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
