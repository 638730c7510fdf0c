package main

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyreeve/keyreeve/pkg/config"
	"github.com/keyreeve/keyreeve/pkg/dynamo"
)

// ring is the pepper ring in Secrets Manager.
type ring struct {
	client  *secretsmanager.Client
	name    *string
	timeout time.Duration
}

func newRing(cfg config.Config) *ring {
	o := secretsmanager.Options{Region: cfg.Region, Credentials: dynamo.Credentials(cfg)}
	if cfg.SecretsManagerEndpoint != "" {
		o.BaseEndpoint = aws.String(cfg.SecretsManagerEndpoint)
	}
	return &ring{secretsmanager.New(o), aws.String(cfg.PepperSecret), cfg.StoreTimeout}
}

// Read returns the ring's JSON and when that version of the secret was made.
func (r *ring) Read(ctx context.Context) (text []byte, written time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	out, err := r.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: r.name})
	if err != nil {
		return nil, time.Time{}, err
	}
	if out.SecretString == nil {
		return nil, time.Time{}, errors.New("the pepper secret holds no text")
	}
	return []byte(*out.SecretString), aws.ToTime(out.CreatedDate), nil
}

// Write makes text the secret's current version. The SDK's own token makes its retries
// one write.
func (r *ring) Write(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	_, err := r.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: r.name, SecretString: aws.String(string(text))})
	return err
}
