// Package dynamo keeps keys, meters and the sample's data in DynamoDB.
//
// The model is five tables. This file is the only home of their layout.
//
//	keys     pk            sk                   what
//	         K#<key id>    K                    key item: everything of a key
//	         A#<account>   A                    account item
//	         A#<account>   K#<number, 10 wide>  list row: the key item without what re-digests change
//	         A#<account>   S#<parent>#<key id>  list row of a session
//	         A#<account>   L#<audit id>         audit row; ids sort by time
//	         T#<key id>    L#<audit id>         audit row in the trail of a key
//	         I#<name>      I                    idempotency record
//
//	meters   id                                 what
//	         <key id>                           what the guard's one write looks at and counts
//
//	sample   pk                       sk           what
//	         <account>#<environment>  <kind>#<id>  one document, as sample.go draws it
//
//	usage    pk                         sk                    what
//	         C#<account>#<day>#<shard>  <key id>              what one key did on one day; 4 shards, by key
//	         K#<key id>                 P                     profile
//	         K#<key id>                 T                     totals
//	         R#<account>#<shard>        <time>#<request id>   row of the request log; 16 shards, 4 of them for a key
//	         J#<request id>             J                     a line that waits for its other half
//	         B#<batch>                  <part>                mark of counts that were applied
//
//	alerts   pk            sk                      what
//	         A#<account>   A#<alert id>            alert
//	         A#<account>   W                       how many webhooks the account has
//	         A#<account>   W#<endpoint id>         webhook
//	         A#<account>   D#<delivery id>         delivery; a webhook's sort by time
//	         F#<account>   <cause>#<window>        failed requests of a cause in five minutes
//	         Q             <due, 13 wide>#<delivery id>   delivery that waits for its time
//
// Attributes. Times are Unix milliseconds, but ttl, which DynamoDB reads, is in seconds.
// What is empty, false or zero is left out.
//
//	key item     id num acct name env perms custs networks notBefore owner plan limit limitNamed
//	             hourLimit dayLimit quota refillDay active primary
//	             deleted canary face by created updated verdictAt rotated expires deletedAt version verdict ttl
//	             gen prefix            the live secret: generation, prefix as issued
//	             digest pepper         and what a re-digest replaces; in no list row
//	             gen0 prefix0 until0   the secret before, while its grace lasts
//	             digest0 pepper0       and its digest; in no list row
//	             parent parentVerdict  of a session, which has no num: the key that it was made with
//	account      id name plan primary next count created version
//	audit row    id acct at actor session action key env before{} after{} ttl
//	             void                  a fence in place of an event, see Keys.Commit; then nothing else
//	record       fp key gen pepper salt box at expires ttl
//	meter        v st                  verdict, and whether the key is active
//	             w u t s0…s25          newest slot, its count, the window's total, the older slots
//	             hw hu ht h0…h25       so too of the hour, if the key has ever had a limit for it
//	             dw du dt d0…d25       and of the day
//	             mp mu                 and the month: day on which its period began, its count
//	             n lu                  requests in all, time of the last one
//	row          key parent env rid    of both lines; its time and its id are in the sort key
//	             gen met path perm     of the access log's line
//	             st ms ip ua
//	             why                   of the refusal's line
//	             ba br ttl             the batches that put what is of the one and of the other
//	day          <h>                   requests in that hour, 0…23
//	             <h>s<class>           by hundred of their status
//	             <h>g<generation>      by the secret that was presented
//	             p:<permission> ttl    by permission, in the whole day
//	totals       n a                   requests; those of them that the guard let through
//	profile      acct first lu crowded version
//	             refused               time of the last refusal
//	             perms{} gens{} nets{} times of last use
//	waiting line rid at key parent acct env      of the refusal
//	             gen why
//	             met path perm st ms ip ua       of the access log's line
//	             ha hr ttl             which of the two have come
//	mark         ttl
//	webhook      id acct url desc kinds active by created updated version
//	             pepper box            the signing secret, sealed
//	delivery     id acct hook alert created
//	             state tries next      next: when it is due, or until when somebody has it
//	             log[{at st why ms}] ttl
//	waiting one  id acct               of the delivery
//	alert        id acct env key kind  severity subject window at text data{} ttl
//	             acked ackedBy         when and by whose key it was acknowledged
//	failures     ids                   set of "<time>#<request id>"
//	             ttl
//
// A key is looked up by id in the base table with a consistent read, so that no index's
// delay lets a revoked key through. The account's rows are one partition, so that a list
// is one strongly consistent Query; a row is written in the transaction of its key item. So
// are audit rows, one in the account's list and one in the trail of each key that changed; a
// trail is a partition of its own, so that K# leads to key items alone, for the roles and the
// stream's readers that are held to those. Sessions have rows of their own, in order of the
// keys that they were made with, so that no list of keys reads them; DynamoDB may drop them
// from their expiry on, but for their meters, since that table has no TTL.
//
// A partition takes 1,000 writes a second
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html).
// So an account's counts of a day are in 4, by key, each read by one Query; and its rows
// are in 16, of which the key's id picks 4 and the request's id one: a key has room for
// 4,000 requests a second, an account for 16,000. Which partition a thing is in, and which
// part of its batch a count, must stay as it is while such items last: by another rule they
// would not be found, or be counted again.
//
// Promises: a [Keys.Commit] is one TransactWriteItems, whole or not at all, and what it
// answers is true also when DynamoDB's answer was lost; no transaction touches a meter but
// the one that makes its key; a re-digest touches two attributes, and neither undoes nor
// is undone by any other change; no error says what an item holds.
package dynamo

import (
	"strconv"

	"github.com/keyreeve/keyreeve/pkg/apikey"
)

// Attributes that more than this package must agree on: the definitions of the tables,
// and the roles that may write some attributes and no other.
const (
	PartitionKey = "pk"  // of every table but meters
	SortKey      = "sk"  // of every table but meters
	MeterKey     = "id"  // of meters, its only key
	TTLAttribute = "ttl" // of every table but meters: Unix seconds after which DynamoDB may delete the item

	DigestAttribute = "digest" // of a key item; with PepperAttribute all that a re-digest writes
	PepperAttribute = "pepper"
)

// Attributes of key items and list rows.
const (
	attrID         = "id"
	attrNumber     = "num"
	attrAccount    = "acct"
	attrName       = "name"
	attrEnv        = "env"
	attrPerms      = "perms"
	attrCustomers  = "custs"
	attrFrom       = "networks"
	attrNotBefore  = "notBefore"
	attrOwner      = "owner"
	attrPlan       = "plan"
	attrLimit      = "limit"
	attrLimitNamed = "limitNamed"
	attrHourLimit  = "hourLimit"
	attrDayLimit   = "dayLimit"
	attrQuota      = "quota"
	attrRefillDay  = "refillDay"
	attrActive     = "active"
	attrPrimary    = "primary"
	attrDeleted    = "deleted"
	attrCanary     = "canary"
	attrFace       = "face"
	attrBy         = "by"
	attrCreated    = "created"
	attrUpdated    = "updated"
	attrVerdictAt  = "verdictAt"
	attrRotated    = "rotated"
	attrExpires    = "expires"
	attrDeletedAt  = "deletedAt"
	attrVersion    = "version"
	attrVerdict    = "verdict"
	attrGen        = "gen"
	attrPrefix     = "prefix"
	attrGen0       = "gen0"
	attrPrefix0    = "prefix0"
	attrUntil0     = "until0"
	attrDigest0    = "digest0"
	attrPepper0    = "pepper0"
	attrParent     = "parent"
	attrParentAt   = "parentVerdict"
)

// Attributes of accounts, audit rows and records besides those above.
const (
	attrNext        = "next"
	attrCount       = "count"
	attrAt          = "at"
	attrActor       = "actor"
	attrSession     = "session"
	attrAction      = "action"
	attrKey         = "key"
	attrBefore      = "before"
	attrAfter       = "after"
	attrVoid        = "void"
	attrFingerprint = "fp"
	attrSalt        = "salt"
	attrBox         = "box"
)

// Attributes of meters. Their names are short: they are written with every request.
const (
	attrMeterVerdict = "v"
	attrMeterActive  = "st"
	attrSlot         = "w"
	attrUsed         = "u"
	attrTotal        = "t"
	attrRequests     = "n"
	attrLastUsed     = "lu"
	attrPastPrefix   = "s"
	attrHourPrefix   = "h" // of the names of the hour's window: hw hu ht h0…
	attrDayPrefix    = "d"
	attrPeriod       = "mp"
	attrPeriodUsed   = "mu"
)

// Attributes of the usage table besides those above. Those of a day are named in
// usage_counts.go, where they are put together.
const (
	attrRowRequestID  = "rid"
	attrRowMethod     = "met"
	attrRowRoute      = "path"
	attrRowPermission = "perm"
	attrRowStatus     = "st"
	attrRowLatency    = "ms"
	attrRowSource     = "ip"
	attrRowAgent      = "ua"
	attrRowRefused    = "why"
	attrOfAccess      = "ba"
	attrOfRefusal     = "br"
	attrHasAccess     = "ha"
	attrHasRefusal    = "hr"

	attrAdmitted    = "a"
	attrFirst       = "first"
	attrRefused     = "refused"
	attrGenerations = "gens"
	attrNetworks    = "nets"
	attrCrowded     = "crowded"
)

// Attributes of webhooks and deliveries besides those above.
const (
	attrURL         = "url"
	attrDescription = "desc"
	attrKinds       = "kinds"
	attrWebhook     = "hook"
	attrAlert       = "alert"
	attrState       = "state"
	attrAttempts    = "tries"
	attrLog         = "log"
	attrAnswer      = "st"
	attrFault       = "why"
	attrTook        = "ms"
)

// Attributes of alerts and failures besides those above.
const (
	attrKind           = "kind"
	attrSeverity       = "severity"
	attrSubject        = "subject"
	attrWindow         = "window"
	attrText           = "text"
	attrData           = "data"
	attrAcknowledged   = "acked"
	attrAcknowledgedBy = "ackedBy"
	attrFailed         = "ids"
)

// Sort keys, and prefixes of partition and sort keys.
const (
	keyPrefix     = "K#"
	keySort       = "K"
	trailPrefix   = "T#"
	accountPrefix = "A#"
	accountSort   = "A"
	sessionPrefix = "S#"
	auditPrefix   = "L#"
	auditEnd      = "L$" // behind every audit row
	recordPrefix  = "I#"
	recordSort    = "I"

	dayPrefix     = "C#"
	profileSort   = "P"
	totalsSort    = "T"
	rowPrefix     = "R#"
	waitingPrefix = "J#"
	waitingSort   = "J"
	markPrefix    = "B#"

	alertPrefix      = "A#"
	webhookPrefix    = "W#"
	webhookCountSort = "W"
	deliveryPrefix   = "D#"
	queuePartition   = "Q"
	failuresPrefix   = "F#"
)

func keyKey(id apikey.ID) item { return primaryKey(keyPrefix+string(id), keySort) }

func accountKey(id string) item { return primaryKey(accountPrefix+id, accountSort) }

func rowKey(accountID string, number int64) item {
	return primaryKey(accountPrefix+accountID, rowSort(number))
}

func sessionKey(accountID string, parent, id apikey.ID) item {
	return primaryKey(accountPrefix+accountID, sessionsOf(parent)+string(id))
}

// sessionsOf is where the sort keys of a key's sessions begin.
func sessionsOf(parent apikey.ID) string { return sessionPrefix + string(parent) + "#" }

func auditKey(accountID, id string) item {
	return primaryKey(accountPrefix+accountID, auditPrefix+id)
}

func trailKey(key apikey.ID, id string) item {
	return primaryKey(trailPrefix+string(key), auditPrefix+id)
}

func recordKey(name string) item { return primaryKey(recordPrefix+name, recordSort) }

func meterKey(id apikey.ID) item { return item{MeterKey: text(string(id))} }

func primaryKey(pk, sk string) item { return item{PartitionKey: text(pk), SortKey: text(sk)} }

// rowSort pads the number, so that rows sort by it as text.
func rowSort(number int64) string {
	const zeros = "0000000000"
	n := strconv.FormatInt(number, 10)
	return keyPrefix + zeros[:max(0, len(zeros)-len(n))] + n
}
