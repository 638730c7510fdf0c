package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheAssetIsTheBinaryAndTheUsersRoutes(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "built")
	if err := os.WriteFile(binary, []byte("code"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		routes []byte
		want   map[string]string
	}{
		{nil, map[string]string{"bootstrap": "code"}},
		{[]byte("{}"), map[string]string{"bootstrap": "code", "routes.json": "{}"}},
	} {
		dir, remove, err := newAsset(binary, c.routes)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[f.Name()] = string(text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if info, err := os.Stat(filepath.Join(dir, "bootstrap")); err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("bootstrap cannot be executed: %v, %v", info.Mode(), err)
		}
		remove()
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if _, _, err := newAsset(filepath.Join(t.TempDir(), "absent"), nil); err == nil {
		t.Error("an asset without a binary")
	}
}
