package dynamo

import (
	"cmp"
	"context"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
	"github.com/keyreeve/keyreeve/pkg/usage"
)

var (
	_ alert.Keys = (*Directory)(nil)
	_ usage.Keys = (*Directory)(nil)
)

// Directory reads whose keys are and how they stand, for functions that have no business
// with secrets: no request of its asks for a digest or for the pepper's version, and a role
// can be held to that (see DirectoryAttributes). It is safe for concurrent use.
type Directory struct {
	client  *dynamodb.Client
	table   string // the keys table
	timeout time.Duration
}

// NewDirectory returns the directory of the keys in that table. timeout bounds one call to
// DynamoDB; 0: 2 s.
func NewDirectory(client *dynamodb.Client, table string, timeout time.Duration) *Directory {
	return &Directory{client: client, table: table, timeout: cmp.Or(timeout, defaultTimeout)}
}

// directoryFields are what a key from a Directory has, besides its Version.
var directoryFields = []string{
	attrID, attrAccount, attrEnv, attrActive, attrDeleted, attrCanary, attrPerms, attrCreated, attrVerdictAt, attrRotated,
	attrNotBefore, attrExpires, attrVersion, attrGen, attrGen0, attrUntil0, attrParent,
}

// DirectoryAttributes are all attributes that a Directory's requests name, for a role's
// condition: "dynamodb:Attributes" with ForAllValues:StringEquals, and "dynamodb:Select"
// SPECIFIC_ATTRIBUTES, without which a request that names none would get them all
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html).
func DirectoryAttributes() []string {
	return append([]string{PartitionKey, SortKey}, directoryFields...)
}

// projection names directoryFields.
func projection() (expression *string, names map[string]string) { return projectionOf(directoryFields) }

// projectionOf names attributes by placeholders, since some are reserved words.
func projectionOf(attributes []string) (expression *string, names map[string]string) {
	names = map[string]string{}
	for _, name := range attributes {
		names["#"+name] = name
	}
	return aws.String("#" + strings.Join(attributes, ", #")), names
}

// Key implements usage.Keys and alert.Keys: all that keys.Identify looks at, and the key's
// permissions, version and times, strongly consistent; keys.ErrNotFound.
func (d *Directory) Key(ctx context.Context, id apikey.ID) (k keys.Key, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	expression, names := projection()
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &d.table, Key: keyKey(id), ConsistentRead: aws.Bool(true),
		ProjectionExpression: expression, ExpressionAttributeNames: names,
	})
	if err == nil && len(out.Item) == 0 {
		err = keys.ErrNotFound
	}
	if err == nil {
		k, err = readKey(out.Item)
	}
	if err != nil {
		return keys.Key{}, readError(err, "reading key %s", id)
	}
	return k, nil
}

// All implements alert.Keys, with the fields that Key has; sessions are not among them,
// since nobody waits for the end of one or forgets it. It scans the table, a megabyte
// at a time, eventually consistent: what is read hourly may be a second old. A scan pays
// for what it reads, audit rows included: some 1,000 units for 8 MB.
func (d *Directory) All(ctx context.Context) iter.Seq2[keys.Key, error] {
	return func(yield func(keys.Key, error) bool) {
		expression, names := projection()
		names["#sk"] = SortKey
		in := &dynamodb.ScanInput{
			TableName: &d.table, ProjectionExpression: expression, ExpressionAttributeNames: names,
			FilterExpression: aws.String("#sk = :key AND attribute_not_exists(#" + attrParent + ")"), ExpressionAttributeValues: item{":key": text(keySort)},
		}
		for {
			out, err := d.scan(ctx, in)
			if err != nil {
				yield(keys.Key{}, unavailable(err, "reading all keys"))
				return
			}
			for _, it := range out.Items {
				k, err := readKey(it)
				if err != nil {
					err = unavailable(err, "reading all keys")
				}
				if !yield(k, err) || err != nil {
					return
				}
			}
			if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
				return
			}
		}
	}
}

func (d *Directory) scan(ctx context.Context, in *dynamodb.ScanInput) (*dynamodb.ScanOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.client.Scan(ctx, in)
}
