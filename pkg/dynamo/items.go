package dynamo

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// putKey adds all of a key that its list row has too: everything but digests and peppers.
func putKey(it item, k *keys.Key) {
	putText(it, attrID, string(k.ID))
	putInt(it, attrNumber, k.Number)
	putText(it, attrAccount, k.AccountID)
	putText(it, attrName, k.Name)
	putText(it, attrEnv, string(k.Environment))
	putList(it, attrPerms, k.Permissions)
	putList(it, attrCustomers, k.Customers)
	putList(it, attrFrom, k.Networks)
	putText(it, attrOwner, k.Owner)
	putText(it, attrPlan, k.Plan)
	putInt(it, attrLimit, int64(k.RateLimit))
	putBool(it, attrLimitNamed, k.LimitNamed)
	putInt(it, attrHourLimit, int64(k.Limits.Hour))
	putInt(it, attrDayLimit, int64(k.Limits.Day))
	putInt(it, attrQuota, int64(k.Quota.Requests))
	putInt(it, attrRefillDay, int64(k.Quota.RefillDay))
	putBool(it, attrActive, k.Active)
	putBool(it, attrPrimary, k.Primary)
	putBool(it, attrDeleted, k.Deleted)
	putBool(it, attrCanary, k.Canary)
	putText(it, attrFace, string(k.Face))
	putText(it, attrBy, string(k.CreatedBy))
	putTime(it, attrCreated, k.CreatedAt)
	putTime(it, attrUpdated, k.UpdatedAt)
	putTime(it, attrVerdictAt, k.VerdictAt)
	putTime(it, attrRotated, k.RotatedAt)
	putTime(it, attrNotBefore, k.NotBefore)
	putTime(it, attrExpires, k.ExpiresAt)
	putTime(it, attrDeletedAt, k.DeletedAt)
	putInt(it, attrVersion, k.Version)
	putInt(it, attrVerdict, k.Verdict)
	putInt(it, attrGen, k.Generation)
	putText(it, attrPrefix, k.Secret.Prefix)
	putInt(it, attrGen0, k.Previous.Generation)
	putText(it, attrPrefix0, k.Previous.Prefix)
	putTime(it, attrUntil0, k.Previous.Until)
	putText(it, attrParent, string(k.Parent))
	putInt(it, attrParentAt, k.ParentVerdict)
}

// keyAttributes are all that readKey reads of a list row.
var keyAttributes = append([]string{
	attrID, attrNumber, attrAccount, attrEnv, attrVersion, attrVerdict, attrGen, attrParent, attrParentAt,
}, rowAttributes[:len(rowAttributes)-1]...)

// rowAttributes are those that putKey may leave out, and ttl: what an update that brings
// an item to a new state has to remove if the state lacks it.
var rowAttributes = []string{
	attrName, attrPerms, attrCustomers, attrFrom, attrNotBefore, attrOwner, attrPlan, attrLimit, attrLimitNamed,
	attrHourLimit, attrDayLimit, attrQuota, attrRefillDay, attrActive, attrPrimary,
	attrDeleted, attrCanary, attrFace, attrBy, attrCreated, attrUpdated, attrVerdictAt, attrRotated, attrExpires, attrDeletedAt,
	attrPrefix, attrGen0, attrPrefix0, attrUntil0, TTLAttribute,
}

// secretAttributes are what only a change of secret writes, and a re-digest the first two;
// previousAttributes go with the secret that they are of.
var (
	secretAttributes   = []string{DigestAttribute, PepperAttribute, attrDigest0, attrPepper0}
	previousAttributes = []string{attrDigest0, attrPepper0}
)

func putSecrets(it item, k *keys.Key) {
	putDigest(it, DigestAttribute, k.Secret.Digest)
	putText(it, PepperAttribute, k.Secret.Pepper)
	putDigest(it, attrDigest0, k.Previous.Digest)
	putText(it, attrPepper0, k.Previous.Pepper)
}

func putDigest(it item, name string, d apikey.Digest) {
	if d != (apikey.Digest{}) { // not a comparison with a credential: is there one at all
		putBytes(it, name, d[:])
	}
}

// readKey reads a key item, or a list row, which has no digests.
func readKey(it item) (keys.Key, error) {
	r := reader{item: it}
	k := keys.Key{
		ID:          apikey.ID(r.text(attrID)),
		Number:      r.int(attrNumber),
		AccountID:   r.text(attrAccount),
		Name:        r.text(attrName),
		Environment: keys.Environment(r.text(attrEnv)),
		Permissions: r.list(attrPerms),
		Customers:   r.list(attrCustomers),
		Networks:    r.list(attrFrom),
		Owner:       r.text(attrOwner),
		Plan:        r.text(attrPlan),
		RateLimit:   int(r.int(attrLimit)),
		LimitNamed:  r.bool(attrLimitNamed),
		Limits:      keys.Limits{Hour: int(r.int(attrHourLimit)), Day: int(r.int(attrDayLimit))},
		Quota:       keys.Quota{Requests: int(r.int(attrQuota)), RefillDay: int(r.int(attrRefillDay))},
		Active:      r.bool(attrActive),
		Primary:     r.bool(attrPrimary),
		Deleted:     r.bool(attrDeleted),
		Canary:      r.bool(attrCanary),
		Face:        keys.Face(r.text(attrFace)),
		CreatedBy:   apikey.ID(r.text(attrBy)),
		CreatedAt:   r.time(attrCreated),
		UpdatedAt:   r.time(attrUpdated),
		VerdictAt:   r.time(attrVerdictAt),
		RotatedAt:   r.time(attrRotated),
		NotBefore:   r.time(attrNotBefore),
		ExpiresAt:   r.time(attrExpires),
		DeletedAt:   r.time(attrDeletedAt),
		Version:     r.int(attrVersion),
		Verdict:     r.int(attrVerdict),
		Generation:  r.int(attrGen),

		Parent: apikey.ID(r.text(attrParent)), ParentVerdict: r.int(attrParentAt),
	}
	k.Secret = keys.Secret{
		Generation: k.Generation, Prefix: r.text(attrPrefix),
		Digest: r.digest(DigestAttribute), Pepper: r.text(PepperAttribute),
	}
	k.Previous = keys.Secret{
		Generation: r.int(attrGen0), Prefix: r.text(attrPrefix0), Until: r.time(attrUntil0),
		Digest: r.digest(attrDigest0), Pepper: r.text(attrPepper0),
	}
	if r.err == nil && (k.ID == "" || k.AccountID == "" || k.Version == 0) {
		return keys.Key{}, errors.New("the item is no whole key")
	}
	return k, r.err
}

func (r *reader) digest(name string) (d apikey.Digest) {
	b := r.bytes(name)
	if b != nil && copy(d[:], b) != len(d) {
		r.fail(name)
	}
	return d
}

// keyTTL is when DynamoDB may drop a key: when its retention after the deletion or expiry
// has ended. A primary key stays, since the account's mark points at it. A session has no
// history of its own: it may go when it expires.
func keyTTL(k *keys.Key, retention time.Duration) time.Time {
	switch {
	case k.Parent != "":
		return k.ExpiresAt
	case k.Deleted && !k.DeletedAt.IsZero():
		return k.DeletedAt.Add(retention)
	case k.Deleted || k.Primary || k.ExpiresAt.IsZero():
		return time.Time{}
	}
	return k.ExpiresAt.Add(retention)
}

// putTTL rounds up to DynamoDB's seconds, so that nothing goes early.
func putTTL(it item, t time.Time) {
	if !t.IsZero() {
		it[TTLAttribute] = number(t.Add(time.Second - 1).Unix())
	}
}

func accountItem(a *keys.Account) item {
	it := accountKey(a.ID)
	putText(it, attrID, a.ID)
	putText(it, attrName, a.Name)
	putText(it, attrPlan, a.Plan)
	putText(it, attrPrimary, string(a.Primary))
	putInt(it, attrNext, a.NextNumber)
	putInt(it, attrCount, a.KeyCount)
	putTime(it, attrCreated, a.CreatedAt)
	putInt(it, attrVersion, a.Version)
	return it
}

func readAccount(it item) (keys.Account, error) {
	r := reader{item: it}
	a := keys.Account{
		ID: r.text(attrID), Name: r.text(attrName), Plan: r.text(attrPlan), Primary: apikey.ID(r.text(attrPrimary)),
		NextNumber: r.int(attrNext), KeyCount: r.int(attrCount), CreatedAt: r.time(attrCreated), Version: r.int(attrVersion),
	}
	return a, r.err
}

// eventItem is the row of an event at key, which is auditKey's or trailKey's.
func eventItem(key item, e *keys.AuditEvent, retention time.Duration) item {
	it := key
	putText(it, attrID, e.ID)
	putText(it, attrAccount, e.AccountID)
	putTime(it, attrAt, e.At)
	putText(it, attrActor, string(e.Actor))
	putText(it, attrSession, string(e.Session))
	putText(it, attrAction, e.Action)
	putText(it, attrKey, string(e.KeyID))
	putText(it, attrEnv, string(e.Environment))
	putMap(it, attrBefore, e.Before)
	putMap(it, attrAfter, e.After)
	putTTL(it, e.At.Add(retention))
	return it
}

func readEvent(it item) (keys.AuditEvent, error) {
	r := reader{item: it}
	e := keys.AuditEvent{
		ID: r.text(attrID), AccountID: r.text(attrAccount), At: r.time(attrAt), Actor: apikey.ID(r.text(attrActor)),
		Session: apikey.ID(r.text(attrSession)), Action: r.text(attrAction), KeyID: apikey.ID(r.text(attrKey)),
		Environment: keys.Environment(r.text(attrEnv)), Before: r.textMap(attrBefore), After: r.textMap(attrAfter),
	}
	return e, r.err
}

// fenceItem takes the place of an event whose change must never be applied any more. A
// transaction lives for seconds; the fence stays an hour.
func fenceItem(e *keys.AuditEvent) item {
	it := auditKey(e.AccountID, e.ID)
	it[attrVoid] = yes
	putTTL(it, e.At.Add(time.Hour))
	return it
}

// recordSlack keeps a record beyond its own end: readers judge by that, not by TTL.
const recordSlack = time.Hour

func recordItem(r *keys.IdempotencyRecord) item {
	it := recordKey(r.Name)
	putBytes(it, attrFingerprint, r.Fingerprint)
	putText(it, attrKey, string(r.KeyID))
	putInt(it, attrGen, r.Generation)
	putText(it, PepperAttribute, r.Pepper)
	putBytes(it, attrSalt, r.Salt)
	putBytes(it, attrBox, r.Box)
	putTime(it, attrAt, r.CreatedAt)
	putTime(it, attrExpires, r.ExpiresAt)
	putTTL(it, r.ExpiresAt.Add(recordSlack))
	return it
}

func readRecord(it item) (keys.IdempotencyRecord, error) {
	r := reader{item: it}
	pk := r.text(PartitionKey)
	if len(pk) < len(recordPrefix) {
		return keys.IdempotencyRecord{}, fmt.Errorf("attribute %s is no record's", PartitionKey)
	}
	record := keys.IdempotencyRecord{
		Name: pk[len(recordPrefix):], Fingerprint: r.bytes(attrFingerprint), KeyID: apikey.ID(r.text(attrKey)),
		Generation: r.int(attrGen), Pepper: r.text(PepperAttribute), Salt: r.bytes(attrSalt), Box: r.bytes(attrBox),
		CreatedAt: r.time(attrAt), ExpiresAt: r.time(attrExpires),
	}
	return record, r.err
}
