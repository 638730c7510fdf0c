package dynamo

import (
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

// Shards of a partition that would be too hot as one: package comment.
const (
	dayShards = 4
	rowShards = 16
	rowSpread = 4 // how many of the rowShards one key's rows are in
)

// hash must stay as it is: it says where items are.
func hash(s string) int {
	h := fnv.New32a()
	h.Write([]byte(s))
	// The low bits of FNV-1a alone would follow the low bits of the text's characters.
	sum := h.Sum32()
	return int((sum ^ sum>>16) & 0xffff)
}

func dayKey(accountID string, id apikey.ID, day usage.Day) item {
	return primaryKey(dayPartition(accountID, day, hash(string(id))%dayShards), string(id))
}

func dayPartition(accountID string, day usage.Day, shard int) string {
	return dayPrefix + accountID + "#" + strconv.FormatInt(int64(day), 10) + "#" + strconv.Itoa(shard)
}

func profileKey(id apikey.ID) item { return primaryKey(keyPrefix+string(id), profileSort) }

func totalsKey(id apikey.ID) item { return primaryKey(keyPrefix+string(id), totalsSort) }

func requestKey(r *usage.Request) item {
	return primaryKey(rowPartition(r.AccountID, rowShard(r.KeyID, hash(r.ID)%rowSpread)), rowPlace(r.Time.UnixMilli(), r.ID))
}

func rowPartition(accountID string, shard int) string {
	return rowPrefix + accountID + "#" + strconv.Itoa(shard)
}

// rowShard is one of the shards that the rows of a key are in; which < rowSpread.
func rowShard(id apikey.ID, which int) int { return (hash(string(id)) + which) % rowShards }

// rowPlace is the sort key of a row: its time in milliseconds, as wide as one of the
// next 8,000 years needs, so that rows sort by it as text; then its id.
func rowPlace(at int64, id string) string { return rowTime(at) + "#" + id }

func rowTime(at int64) string {
	const zeros = "000000000000"
	hex := strconv.FormatInt(max(0, at), 16)
	return zeros[:max(0, len(zeros)-len(hex))] + hex
}

// readPlace undoes rowPlace.
func readPlace(place string) (usage.Place, error) {
	hex, id, ok := strings.Cut(place, "#")
	at, err := strconv.ParseInt(hex, 16, 64)
	if !ok || err != nil {
		return usage.Place{}, errors.New("the sort key of a row is malformed")
	}
	return usage.Place{Time: time.UnixMilli(at).UTC(), ID: id}, nil
}

func waitingKey(requestID string) item { return primaryKey(waitingPrefix+requestID, waitingSort) }

func markKey(batch usage.Batch, part int) item {
	return primaryKey(markPrefix+string(batch), strconv.Itoa(part))
}
