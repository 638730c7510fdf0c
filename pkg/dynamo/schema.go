// Package dynamo keeps keys, meters and the sample's data in DynamoDB.
//
// The model is three tables. The item layout is this file and nowhere else:
//
//	keys     pk            sk                  what
//	         K#<key id>    K                   key item: everything of a key, with digests
//	         A#<account>   A                   account item
//	         A#<account>   K#<number, 10 wide> list row: the key item without digest and pepper
//	         A#<account>   L#<audit id>        audit row; ids sort by time
//	         I#<name>      I                   idempotency record
//
//	meters   id                                what
//	         <key id>                          verdict (v, st), window (w, u, t, s0…s25), use (n, lu)
//
//	sample   pk                     sk         what
//	         <account>#<environment> <kind>#<id> one object as JSON
//
// A key is looked up by id in the base table with a consistent read, so that no index's
// delay lets a revoked key through. The account's rows are one partition, so that a list
// is one strongly consistent Query; a row is written in the transaction of its key item.
//
// Promises: a [Keys.Commit] is one TransactWriteItems, whole or not at all, and what it
// answers is true (see there for a lost answer); no meter is in a transaction but the one
// that creates its key; a re-digest touches two attributes and never undoes, nor is
// undone by, any other change.
package dynamo

import (
	"strconv"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Attributes that more than one place must agree on: the table definitions (infra,
// infra/local/ddb) and the stores.
const (
	PartitionKey = "pk"  // of keys and sample
	SortKey      = "sk"  // of keys and sample
	MeterKey     = "id"  // of meters, its only key
	TTLAttribute = "ttl" // of keys and sample: Unix seconds after which DynamoDB may delete the item
)

// Sort keys, and prefixes of partition and sort keys.
const (
	keyPrefix     = "K#"
	keySort       = "K"
	accountPrefix = "A#"
	accountSort   = "A"
	auditPrefix   = "L#"
	recordPrefix  = "I#"
	recordSort    = "I"
)

func keyPK(id apikey.ID) string         { return keyPrefix + string(id) }
func accountPK(accountID string) string { return accountPrefix + accountID }
func recordPK(name string) string       { return recordPrefix + name }
func auditSK(id string) string          { return auditPrefix + id }

// rowSK pads the number so that rows sort by it as text.
func rowSK(number int64) string {
	const width = 10
	n := strconv.FormatInt(number, 10)
	return keyPrefix + "0000000000"[:max(0, width-len(n))] + n
}
