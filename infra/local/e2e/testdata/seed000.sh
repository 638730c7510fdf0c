# Production requests
curl https://api.missinglettr-api.com/v1/workspaces/ \
-H "Authorization: Api-Key {{productionKey}}"
---
# Development requests
curl https://api.missinglettr-api.com/v1/workspaces/ \
-H "Authorization: Api-Key {{developmentKey}}"
