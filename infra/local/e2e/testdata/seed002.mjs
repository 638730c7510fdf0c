// List API keys
const keys = await fetch('https://api.momail.io/v1/api-keys', {
  headers: { 'X-API-Key': 'your_key' }
}).then(r => r.json());

// Create API key
const newKey = await fetch('https://api.momail.io/v1/api-keys', {
  method: 'POST',
  headers: {
    'X-API-Key': 'your_key',
    'Content-Type': 'application/json'
  },
  body: JSON.stringify({
    name: 'Production API',
    expirationDays: 365
  })
}).then(r => r.json());

// IMPORTANT: Save the key immediately
const apiKey = newKey.data.apiKey;
localStorage.setItem('momail_api_key', apiKey);

// Delete API key
await fetch('https://api.momail.io/v1/api-keys/{{keyId}}', {
  method: 'DELETE',
  headers: { 'X-API-Key': 'your_key' }
});
