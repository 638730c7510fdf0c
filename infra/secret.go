package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
)

// makePepper makes the pepper ring with its first pepper: {"current":"p1","p1":"…"}, which
// apikey.ParseRing reads. CloudFormation draws the pepper itself, so it is in no template
// and on no developer's machine.
//
// GenerateSecretString must stay as it is, letter for letter: a change to it makes
// CloudFormation draw anew, and every key there is would be dead. Rotation adds peppers
// to the secret's value, which a deployment leaves alone.
func (s *stack) makePepper() {
	s.pepper = awssecretsmanager.NewSecret(s.cdk, jsii.String("Pepper"), &awssecretsmanager.SecretProps{
		Description: jsii.String("Keyreeve's peppers. Without them every key is dead: never delete a version that keys still have."),
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			SecretStringTemplate: jsii.String(`{"current":"p1"}`),
			GenerateStringKey:    jsii.String("p1"),
			PasswordLength:       jsii.Number(64), // 62 characters to choose from: 380 bits
			ExcludePunctuation:   jsii.Bool(true),
		},
		RemovalPolicy: s.lasting(),
	})
	waive(s.pepper, waiver{"CKV_AWS_149", "encrypted with Secrets Manager's own key; a customer's costs 1 USD a month and protects from nobody who may read the secret"})
}
