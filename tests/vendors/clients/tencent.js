// Runs the vendor's Node client as a caller would; only endpoint, protocol and key are set.
//
//   tencent.js tc3|v1 HOST:PORT ID KEY [ID KEY]…
//
// Reads requests, one JSON object a line with the index of the pair to use, and writes what the client returned or
// raised, one JSON line each. The first line it writes says that it is ready.
'use strict';

const readline = require('readline');
const { Client } = require('tencentcloud-sdk-nodejs/tencentcloud/services/faceid/v20180301/faceid_client');

const TIMEOUT_SECONDS = 20;

function client(signMethod, endpoint, secretId, secretKey) {
  return new Client({
    credential: { secretId, secretKey },
    region: '',
    profile: { signMethod, httpProfile: { endpoint, protocol: 'http://', reqTimeout: TIMEOUT_SECONDS } },
  });
}

// What a caller can read from an error.
function raised(error) {
  return {
    outcome: 'raised',
    type: error.name,
    code: error.code,
    message: error.message,
    request_id: error.requestId,
  };
}

async function main() {
  const [kind, endpoint, ...keys] = process.argv.slice(2);
  const method = { tc3: 'TC3-HMAC-SHA256', v1: 'HmacSHA1' }[kind];
  const clients = [];
  for (let at = 0; at < keys.length; at += 2) {
    clients.push(client(method, endpoint, keys[at], keys[at + 1]));
  }
  console.log(JSON.stringify('ready'));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { name, id_number: idNumber, pair } = JSON.parse(line);
    let said;
    try {
      const body = await clients[pair].IdCardVerification({ IdCard: idNumber, Name: name });
      said = { outcome: 'returned', body };
    } catch (error) {
      said = raised(error);
    }
    console.log(JSON.stringify(said));
  }
}

main();
