# What FetLife's client makes of a hub: ruby client.rb ADDRESS PICTURE
require "hasher_matcher_actioner_api"

def attempt
  yield
rescue HasherMatcherActionerApi::Error => e
  e.class.name.split("::").last
end

def shown(matches)
  matches.map(&:to_h)
end

address, picture = ARGV
client = HasherMatcherActionerApi::Client.new(base_url: address, timeout: 60, log_level: :fatal, max_retries: 0)
client.conn.builder.delete(Faraday::Response::Logger)
photo = -> { File.open(picture, "rb") }
said = {version: HasherMatcherActionerApi::VERSION, alive: client.server_ready?}
said[:none] = client.bank_exists?(name: "FETLIFE")
said[:made] = client.create_bank(name: "FETLIFE").to_h
said[:there] = client.bank_exists?(name: "FETLIFE")
said[:again] = attempt { client.create_bank(name: "FETLIFE") }
said[:wrong] = attempt { client.create_bank(name: "not a bank") }
said[:before] = shown(client.lookup_file(photo.call, content_type: "photo"))
said[:hash] = client.hash_file(photo.call, content_type: "photo").to_h
said[:added] = client.add_file_to_bank(
  bank_name: "FETLIFE", file: photo.call, content_type: "photo", metadata: {content_id: "1"}
).to_h
signal = said[:hash][:pdq]
said[:file] = shown(client.lookup_file(photo.call, content_type: "photo"))
said[:other] = shown(client.lookup_file(photo.call, content_type: "photo", bank_names: ["OTHER"]))
said[:signal] = shown(client.lookup_signal(signal, "pdq"))
said[:raw] = client.raw_lookup(signal, signal_type: "pdq").to_h
said[:distance] = client.raw_lookup(signal, signal_type: "pdq", include_distance: true).to_h
said[:far] = shown(client.lookup_signal("5" * 64, "pdq"))
said[:broken] = attempt { client.lookup_signal("short", "pdq") }
said[:url] = attempt { client.lookup_url("https://example.com/x.png") }
said[:apis] = client.list_exchange_apis
said[:exchange] = client.exchange_exists?(name: "FETLIFE")
said[:join] = attempt { client.create_exchange(api: "ncmec", bank: "FETLIFE", api_json: {}) }
puts said.to_json
