package dynamo

import (
	"strings"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// StreamKeyID returns the key whose item a record of the keys table's stream is about, by
// the record's partition key; ok is false for every other item, list rows included.
func StreamKeyID(partitionKey string) (id apikey.ID, ok bool) {
	text, found := strings.CutPrefix(partitionKey, keyPrefix)
	if !found {
		return "", false
	}
	id, err := apikey.ParseID(text)
	return id, err == nil
}
