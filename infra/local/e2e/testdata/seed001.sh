curl -X POST "https://api.missinglettr.com/v1/account/api-keys/" \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "CI/CD Pipeline",
    "key_type": "production"
  }'
---
curl -X PATCH "https://api.missinglettr.com/v1/account/api-keys/{{id}}/" \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"is_active": false}'
---
curl -X DELETE "https://api.missinglettr.com/v1/account/api-keys/{{id}}/" \
  -H "Authorization: Bearer YOUR_API_KEY"
