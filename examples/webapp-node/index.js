const isNumber = require("is-number");

for (const value of process.argv.slice(2).concat("42")) {
  console.log(`${value} is ${isNumber(value) ? "" : "not "}a number`);
}
