"""The report of a flight: what is in a directory of cubes, as one HTML page without requests, and as JSON.

`cubes` reads a file, `facts` are all numbers of a report, made of files in `gathering`; `figures` and `page` show them.
"""
