// Package atomicfile writes the small files that the local gateway keeps: peppers, the
// root key, how far the stream has been read.
package atomicfile

import (
	"os"
	"path/filepath"
)

// Write puts text into a file that only its owner may read (0600), replacing what was
// there in one step: after a crash the file holds the old text or the new one, whole.
func Write(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
