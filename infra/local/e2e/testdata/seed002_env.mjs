const apiKey = process.env.MOMAIL_API_KEY;
