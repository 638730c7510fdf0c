package stream

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// Event is Lambda's DynamoDB event of these records, ready for JSON: the shape that
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html shows.
func Event(region, streamARN string, records []types.Record) map[string]any {
	out := make([]map[string]any, 0, len(records))
	for _, r := range records {
		change := map[string]any{
			"Keys":           image(r.Dynamodb.Keys),
			"SequenceNumber": aws.ToString(r.Dynamodb.SequenceNumber),
			"SizeBytes":      aws.ToInt64(r.Dynamodb.SizeBytes),
			"StreamViewType": string(r.Dynamodb.StreamViewType),
		}
		if t := r.Dynamodb.ApproximateCreationDateTime; t != nil {
			change["ApproximateCreationDateTime"] = t.Unix()
		}
		if r.Dynamodb.NewImage != nil {
			change["NewImage"] = image(r.Dynamodb.NewImage)
		}
		if r.Dynamodb.OldImage != nil {
			change["OldImage"] = image(r.Dynamodb.OldImage)
		}
		record := map[string]any{
			"eventID": aws.ToString(r.EventID), "eventName": string(r.EventName), "eventVersion": "1.1",
			"eventSource": "aws:dynamodb", "eventSourceARN": streamARN, "awsRegion": region,
			"dynamodb": change,
		}
		if u := r.UserIdentity; u != nil {
			record["userIdentity"] = map[string]any{"type": aws.ToString(u.Type), "principalId": aws.ToString(u.PrincipalId)}
		}
		out = append(out, record)
	}
	return map[string]any{"Records": out}
}

func image(item map[string]types.AttributeValue) map[string]any {
	out := make(map[string]any, len(item))
	for name, v := range item {
		out[name] = attribute(v)
	}
	return out
}

// attribute is a value in DynamoDB's JSON. Binary values are []byte, which encoding/json
// writes in base64 as DynamoDB does.
func attribute(v types.AttributeValue) map[string]any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberB:
		return map[string]any{"B": v.Value}
	case *types.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *types.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}
	case *types.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *types.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *types.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}
	case *types.AttributeValueMemberM:
		return map[string]any{"M": image(v.Value)}
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, e := range v.Value {
			list[i] = attribute(e)
		}
		return map[string]any{"L": list}
	}
	panic(fmt.Sprintf("stream: DynamoDB has no attribute value of %T", v))
}
