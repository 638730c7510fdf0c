# List API keys
curl https://api.momail.io/v1/api-keys \
  -H "X-API-Key: your_key"
---
# Create API key
curl -X POST https://api.momail.io/v1/api-keys \
  -H "X-API-Key: your_key" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Production API",
    "expirationDays": 365
  }'
---
# Delete API key
curl -X DELETE https://api.momail.io/v1/api-keys/{{keyId}} \
  -H "X-API-Key: your_key"
