package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigateway"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsroute53"
	"github.com/aws/jsii-runtime-go"
)

// makeDomains gives stages their custom domains. A domain stands for one stage, so its
// URLs have no stage segment.
func (s *stack) makeDomains() {
	for _, stage := range s.d.stages() {
		d, ok := s.d.Domains[stage]
		if !ok {
			continue
		}
		name := awsapigateway.NewCfnDomainName(s.cdk, jsii.String(title(stage)+"Domain"), &awsapigateway.CfnDomainNameProps{
			DomainName:             &d.Name,
			RegionalCertificateArn: &d.CertificateARN,
			EndpointConfiguration:  &awsapigateway.CfnDomainName_EndpointConfigurationProperty{Types: texts("REGIONAL")},
			SecurityPolicy:         jsii.String("TLS_1_2"),
		})
		awsapigateway.NewCfnBasePathMapping(s.cdk, jsii.String(title(stage)+"Mapping"), &awsapigateway.CfnBasePathMappingProps{
			DomainName: name.Ref(), RestApiId: s.api.RestApiId(), Stage: s.stages[stage].StageName(),
		})
		target := name.AttrRegionalDomainName()
		if d.HostedZoneID == "" {
			s.output(title(stage)+"DomainTarget", target, "Point "+d.Name+" at this name")
			continue
		}
		for _, kind := range []string{"A", "AAAA"} {
			awsroute53.NewCfnRecordSet(s.cdk, jsii.String(title(stage)+kind), &awsroute53.CfnRecordSetProps{
				HostedZoneId: &d.HostedZoneID, Name: &d.Name, Type: &kind,
				AliasTarget: &awsroute53.CfnRecordSet_AliasTargetProperty{DnsName: target, HostedZoneId: name.AttrRegionalHostedZoneId()},
			})
		}
	}
}
