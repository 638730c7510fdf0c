import os
import requests

headers = {'X-API-Key': os.getenv('MOMAIL_API_KEY')}

# List API keys
response = requests.get('https://api.momail.io/v1/api-keys', headers=headers)
keys = response.json()['data']

# Create API key
response = requests.post(
    'https://api.momail.io/v1/api-keys',
    headers=headers,
    json={
        'name': 'Production API',
        'expirationDays': 365
    }
)
result = response.json()

# IMPORTANT: Save the key immediately
api_key = result['data']['apiKey']
print(f"Save this key: {api_key}")

# Delete API key
requests.delete(
    'https://api.momail.io/v1/api-keys/{{keyId}}',
    headers=headers
)
